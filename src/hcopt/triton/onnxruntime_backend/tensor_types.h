// The types of tensors: as config.pbtxt, Triton and ONNX Runtime name them, and the size of an element.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "triton_interface.h"

struct TensorType {
  const char* name;
  triton::DataType triton;
  int onnxruntime;
  size_t size;  // bytes; 0 for strings, which bring their own lengths
};

constexpr TensorType kTensorTypes[] = {
    {"TYPE_BOOL", 1, 9, 1},    {"TYPE_UINT8", 2, 2, 1},  {"TYPE_UINT16", 3, 4, 2}, {"TYPE_UINT32", 4, 12, 4},
    {"TYPE_UINT64", 5, 13, 8}, {"TYPE_INT8", 6, 3, 1},   {"TYPE_INT16", 7, 5, 2},  {"TYPE_INT32", 8, 6, 4},
    {"TYPE_INT64", 9, 7, 8},   {"TYPE_FP16", 10, 10, 2}, {"TYPE_FP32", 11, 1, 4},  {"TYPE_FP64", 12, 11, 8},
    {"TYPE_STRING", 13, 8, 0}, {"TYPE_BF16", 14, 16, 2},
};

// An input or output of the configuration.
struct Tensor {
  bool is_text() const { return type->size == 0; }

  std::string name;
  const TensorType* type;
  std::vector<int64_t> dims;  // as the model has them, without the batch
  bool optional;
};
