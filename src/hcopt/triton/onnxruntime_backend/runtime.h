// The ONNX Runtime that the server was told to use: its library, its environment, OpenVINO beside it.
#pragma once

#include <mutex>
#include <string>

#include "json.h"
#include "onnxruntime_interface.h"

class Runtime {
 public:
  // Opens the library of `--backend-config=onnxruntime,library=PATH`, for good: its threads end when they like.
  // Throws a Failure where it is no ONNX Runtime, or one that is too old.
  explicit Runtime(const Json& backend_config);

  // Adds OpenVINO's provider, whose library is `--backend-config=onnxruntime,openvino_library=PATH`, to the options of
  // a session. It computes in `precision`, "f32" or "bf16", with `threads` threads; 0 leaves that to OpenVINO.
  void add_openvino(ort::SessionOptions* options, const std::string& precision, int threads);

  const std::string& version() const { return version_; }
  const std::string& path() const { return path_; }
  ort::Env* env() const { return env_.get(); }
  const ort::MemoryInfo* cpu() const { return cpu_.get(); }
  ort::Allocator* allocator() const { return allocator_; }

 private:
  const ort::EpDevice* openvino_on_cpu();

  std::string path_, version_, openvino_path_;
  ort::Owned<ort::Env> env_;
  ort::Owned<ort::MemoryInfo> cpu_;
  ort::Allocator* allocator_ = nullptr;  // ONNX Runtime's own
  bool takes_plugins_ = false;
  std::mutex registering_;
  bool openvino_registered_ = false;
};
