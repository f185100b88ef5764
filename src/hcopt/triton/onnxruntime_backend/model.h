// A model as its configuration describes it, with the meaning that Triton's own ONNX Runtime backend gives to each key.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "json.h"
#include "runtime.h"
#include "tensor_types.h"

// An input or output of the configuration.
struct Tensor {
  std::string name;
  const TensorType* type;
  std::vector<std::int64_t> dims;  // as the model has them, without the batch
  bool optional;
};

class Model {
 public:
  // Throws a Failure for what this backend would do wrongly or not at all.
  Model(std::shared_ptr<Runtime> runtime, const Json& config, const std::string& folder);

  // A session of its own with threads of its own for each instance, as production has it. Throws a Failure where
  // ONNX Runtime cannot load the file, or the model and the configuration do not agree.
  ort::Owned<ort::Session> open_session() const;
  ort::Owned<ort::RunOptions> run_options() const;

  const Runtime& runtime() const { return *runtime_; }
  bool batches() const { return batches_; }
  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  void configure(const Json& config);
  void set_parameter(const std::string& key, const std::string& value);
  void add_accelerators(const Json& accelerators);
  void check_tensors(const ort::Session* session) const;

  std::shared_ptr<Runtime> runtime_;
  std::string name_, file_;
  bool batches_;
  std::vector<Tensor> inputs_, outputs_;
  ort::Owned<ort::SessionOptions> options_;
  std::string arena_shrinkage_;
  bool with_openvino_ = false;
};
