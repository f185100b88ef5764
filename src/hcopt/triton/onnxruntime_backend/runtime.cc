#include "runtime.h"

#include <dlfcn.h>

#include "failure.h"

namespace {

constexpr const char* kOpenVino = "OpenVINOExecutionProvider";

void log_message(void*, int severity, const char* category, const char*, const char* place, const char* message) {
  using triton::LogLevel;
  const LogLevel mild = severity == ort::kLogWarning ? LogLevel::kWarning : LogLevel::kInfo;
  triton::log(severity >= ort::kLogError ? LogLevel::kError : mild,
              std::string("ONNX Runtime (") + category + ", " + place + "): " + message);
}

const ort::ApiBase& open(const std::string& path) {
  if (path.empty()) {
    throw invalid("hcopt's onnxruntime backend needs --backend-config=onnxruntime,library=PATH of libonnxruntime.so");
  }
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Failure(triton::ErrorCode::kNotFound, std::string("no ONNX Runtime: ") + dlerror());
  const auto base = reinterpret_cast<const ort::ApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
  if (base == nullptr) throw invalid(path + " is no library of ONNX Runtime");
  return *base();
}

}  // namespace

void ort::check(Status* status) {
  if (status == nullptr) return;
  const Owned<Status> owned(status);
  using triton::ErrorCode;
  throw Failure(GetErrorCode(status) == kInvalidArgument ? ErrorCode::kInvalid : ErrorCode::kInternal,
                GetErrorMessage(status));
}

Runtime::Runtime(const Json& backend_config)
    : path_(backend_config["cmdline"]["library"].text),
      openvino_path_(backend_config["cmdline"]["openvino_library"].text) {
  const ort::ApiBase& base = open(path_);
  version_ = base.GetVersionString();
  ort::table = base.GetApi(ort::kApiVersion);
  if (ort::table == nullptr) {
    throw Failure(triton::ErrorCode::kUnsupported,
                  "ONNX Runtime " + version_ + " is too old: at least 1.20 is needed (" + path_ + ")");
  }
  takes_plugins_ = base.GetApi(ort::kPluginApiVersion) != nullptr;
  env_ = ort::make<ort::Env>(ort::CreateEnvWithCustomLogger, log_message, nullptr, ort::kLogWarning, "hcopt");
  cpu_ = ort::make<ort::MemoryInfo>(ort::CreateCpuMemoryInfo, ort::kDeviceAllocator, ort::kDefaultMemory);
  ort::GetAllocatorWithDefaultOptions(&allocator_);
}

void Runtime::add_openvino(ort::SessionOptions* options, const std::string& precision, int threads) {
  const ort::EpDevice* const device = openvino_on_cpu();
  // The plugin takes neither the session's threads nor options of its own for both, and says nothing of what it ignores.
  const std::string load_config = R"({"CPU": {"INFERENCE_NUM_THREADS": ")" + std::to_string(threads) +
                                  R"(", "INFERENCE_PRECISION_HINT": ")" + precision + R"("}})";
  const char *const key = "load_config", *const value = load_config.c_str();
  ort::SessionOptionsAppendExecutionProvider_V2(options, env(), &device, 1, &key, &value, 1);
}

const ort::EpDevice* Runtime::openvino_on_cpu() {
  if (openvino_path_.empty()) {
    throw invalid(
        "openvino needs the package onnxruntime-ep-openvino (--backend-config=onnxruntime,openvino_library=PATH)");
  }
  if (!takes_plugins_) throw invalid("openvino needs ONNX Runtime 1.22 or later; this is " + version_);
  const std::lock_guard guard(registering_);
  if (!openvino_registered_) ort::RegisterExecutionProviderLibrary(env(), kOpenVino, openvino_path_.c_str());
  openvino_registered_ = true;
  const ort::EpDevice* const* devices = nullptr;
  size_t count = 0;
  ort::GetEpDevices(env(), &devices, &count);
  for (size_t index = 0; index < count; ++index) {
    const bool on_cpu = ort::HardwareDevice_Type(ort::EpDevice_Device(devices[index])) == ort::kCpuDevice;
    if (on_cpu && std::string(ort::EpDevice_EpName(devices[index])) == kOpenVino) return devices[index];
  }
  throw invalid("OpenVINO finds no CPU that it can use: its plugin takes those of Intel");
}
