// The types of tensors, as config.pbtxt, Triton and ONNX Runtime name them, and how large an element is.
#pragma once

#include <cstddef>
#include <string_view>

#include "triton_interface.h"

struct TensorType {
  std::string_view name;
  triton::DataType triton;
  int onnxruntime;
  std::size_t size;  // bytes; 0 for strings, which have their own lengths
};

inline constexpr TensorType kTensorTypes[] = {
    {"TYPE_BOOL", 1, 9, 1},    {"TYPE_UINT8", 2, 2, 1},  {"TYPE_UINT16", 3, 4, 2}, {"TYPE_UINT32", 4, 12, 4},
    {"TYPE_UINT64", 5, 13, 8}, {"TYPE_INT8", 6, 3, 1},   {"TYPE_INT16", 7, 5, 2},  {"TYPE_INT32", 8, 6, 4},
    {"TYPE_INT64", 9, 7, 8},   {"TYPE_FP16", 10, 10, 2}, {"TYPE_FP32", 11, 1, 4},  {"TYPE_FP64", 12, 11, 8},
    {"TYPE_STRING", 13, 8, 0}, {"TYPE_BF16", 14, 16, 2},
};

// Null where there is none.
inline const TensorType* tensor_type(std::string_view name) {
  for (const TensorType& type : kTensorTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

inline const TensorType* tensor_type(int onnxruntime) {
  for (const TensorType& type : kTensorTypes) {
    if (type.onnxruntime == onnxruntime) return &type;
  }
  return nullptr;
}
