// A model as its configuration describes it; keys have the meaning that Triton's own onnxruntime backend gives them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "json.h"
#include "runtime.h"
#include "tensor_types.h"

class Model {
 public:
  // Throws a Failure for what this backend would do wrongly or not at all.
  Model(std::shared_ptr<Runtime> runtime, const Json& config, const std::string& folder);

  // A session with threads of its own, and which of the inputs are scalars in it. Throws a Failure where ONNX Runtime
  // cannot load the file, or the model and the configuration do not agree.
  std::pair<ort::Owned<ort::Session>, std::vector<bool>> open_session() const;
  ort::Owned<ort::RunOptions> run_options() const;

  const Runtime& runtime() const { return *runtime_; }
  bool batches() const { return batches_; }
  const std::vector<Tensor>& inputs() const { return inputs_; }
  const std::vector<Tensor>& outputs() const { return outputs_; }

 private:
  void set_parameter(const std::string& key, const std::string& value);
  void go_by_cores(const Json& parameters);
  void add_accelerator(const Json& accelerator);
  std::vector<bool> check_tensors(const ort::Session* session) const;

  std::shared_ptr<Runtime> runtime_;
  std::string name_, file_, arena_shrinkage_;
  bool batches_, with_openvino_ = false;
  int threads_ = 0;  // intra_op_thread_count
  std::vector<Tensor> inputs_, outputs_;
  ort::Owned<ort::SessionOptions> options_;
};
