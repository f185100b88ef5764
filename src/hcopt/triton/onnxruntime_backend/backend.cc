// The backend `onnxruntime`: what Triton calls. Written in C++, it replaces model.py in the folder of the backend.

#include <exception>
#include <memory>
#include <string>

#include "failure.h"
#include "instance.h"
#include "json.h"
#include "model.h"
#include "runtime.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

void triton::check(Error* error) {
  if (error == nullptr) return;
  const Failure failure(TRITONSERVER_ErrorCode(error), TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
  throw failure;
}

void triton::note(Error* error) noexcept {
  if (error == nullptr) return;
  if (Error* const again = TRITONSERVER_LogMessage(LogLevel::kError, __FILE__, __LINE__, TRITONSERVER_ErrorMessage(error))) {
    TRITONSERVER_ErrorDelete(again);
  }
  TRITONSERVER_ErrorDelete(error);
}

void triton::log(LogLevel level, const std::string& message) noexcept {
  if (Error* const error = TRITONSERVER_LogMessage(level, __FILE__, __LINE__, message.c_str())) TRITONSERVER_ErrorDelete(error);
}

namespace {

using SharedRuntime = std::shared_ptr<Runtime>;

// What an entry point returns: no exception may leave it.
template <typename Action>
triton::Error* guarded(const Action& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const Failure& failure) {
    return TRITONSERVER_ErrorNew(failure.code, failure.what());
  } catch (const std::exception& error) {
    return TRITONSERVER_ErrorNew(triton::ErrorCode::kInternal, error.what());
  }
}

template <typename State, typename Owner>
State* state_of(Owner* owner, triton::Error* (*get_state)(Owner*, void**)) {
  void* state = nullptr;
  triton::check(get_state(owner, &state));
  return static_cast<State*>(state);
}

Json read_json(triton::Message* message) {
  const char* text = nullptr;
  std::size_t size = 0;
  triton::check(TRITONSERVER_MessageSerializeToJson(message, &text, &size));
  return Json::parse({text, size});
}

void check_api() {
  std::uint32_t major = 0, minor = 0;
  triton::check(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major == triton::kApiMajor && minor >= triton::kApiMinor) return;
  const auto version = [](std::uint32_t first, std::uint32_t second) { return std::to_string(first) + "." + std::to_string(second); };
  throw Failure(triton::ErrorCode::kUnsupported,
                "hcopt's onnxruntime backend needs the backend API " + version(triton::kApiMajor, triton::kApiMinor) +
                    " or a later minor version; this server has " + version(major, minor));
}

Json model_config(triton::Model* model) {
  triton::Message* message = nullptr;
  triton::check(TRITONBACKEND_ModelConfig(model, triton::kConfigVersion, &message));
  const auto remove = [](triton::Message* owned) { triton::note(TRITONSERVER_MessageDelete(owned)); };
  const std::unique_ptr<triton::Message, decltype(remove)> owned(message, remove);
  return read_json(message);
}

std::string version_folder(triton::Model* model) {
  triton::ArtifactType type = triton::ArtifactType::kFilesystem;
  const char* path = nullptr;
  triton::check(TRITONBACKEND_ModelRepository(model, &type, &path));
  if (type != triton::ArtifactType::kFilesystem) {
    throw Failure(triton::ErrorCode::kUnsupported, "hcopt's onnxruntime backend reads models from folders alone");
  }
  std::uint64_t version = 0;
  triton::check(TRITONBACKEND_ModelVersion(model, &version));
  return std::string(path) + "/" + std::to_string(version);
}

}  // namespace

EXPORTED triton::Error* TRITONBACKEND_Initialize(triton::Backend* backend) {
  return guarded([&] {
    check_api();
    triton::Message* message = nullptr;
    triton::check(TRITONBACKEND_BackendConfig(backend, &message));
    auto runtime = std::make_unique<SharedRuntime>(std::make_shared<Runtime>(read_json(message)));
    const Runtime& found = **runtime;
    triton::check(TRITONBACKEND_BackendSetState(backend, runtime.get()));
    runtime.release();
    triton::log(triton::LogLevel::kInfo, "hcopt's native onnxruntime backend over ONNX Runtime " + found.version() + " (" + found.path() + ")");
  });
}

EXPORTED triton::Error* TRITONBACKEND_Finalize(triton::Backend* backend) {
  // Models that are still there keep what they need.
  return guarded([&] { delete state_of<SharedRuntime>(backend, TRITONBACKEND_BackendState); });
}

EXPORTED triton::Error* TRITONBACKEND_GetBackendAttribute(triton::Backend*, triton::BackendAttributes* attributes) {
  return guarded([&] {
    // A count of 0 leaves the number to Triton, as production does.
    triton::check(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, triton::InstanceKind::kCpu, 0, nullptr, 0));
    triton::check(TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true));
  });
}

EXPORTED triton::Error* TRITONBACKEND_ModelInitialize(triton::Model* model) {
  return guarded([&] {
    triton::Backend* backend = nullptr;
    triton::check(TRITONBACKEND_ModelBackend(model, &backend));
    const SharedRuntime& runtime = *state_of<SharedRuntime>(backend, TRITONBACKEND_BackendState);
    auto state = std::make_unique<Model>(runtime, model_config(model), version_folder(model));
    triton::check(TRITONBACKEND_ModelSetState(model, state.get()));
    state.release();
  });
}

EXPORTED triton::Error* TRITONBACKEND_ModelFinalize(triton::Model* model) {
  return guarded([&] { delete state_of<Model>(model, TRITONBACKEND_ModelState); });
}

EXPORTED triton::Error* TRITONBACKEND_ModelInstanceInitialize(triton::ModelInstance* instance) {
  return guarded([&] {
    triton::InstanceKind kind = triton::InstanceKind::kAuto;
    triton::check(TRITONBACKEND_ModelInstanceKind(instance, &kind));
    if (kind != triton::InstanceKind::kCpu) {
      throw Failure(triton::ErrorCode::kUnsupported, "hcopt's onnxruntime backend does not support other instances than KIND_CPU");
    }
    triton::Model* model = nullptr;
    triton::check(TRITONBACKEND_ModelInstanceModel(instance, &model));
    auto state = std::make_unique<Instance>(*state_of<Model>(model, TRITONBACKEND_ModelState), instance);
    triton::check(TRITONBACKEND_ModelInstanceSetState(instance, state.get()));
    state.release();
  });
}

EXPORTED triton::Error* TRITONBACKEND_ModelInstanceFinalize(triton::ModelInstance* instance) {
  return guarded([&] { delete state_of<Instance>(instance, TRITONBACKEND_ModelInstanceState); });
}

EXPORTED triton::Error* TRITONBACKEND_ModelInstanceExecute(triton::ModelInstance* instance, triton::Request** requests, std::uint32_t count) {
  return guarded([&] { state_of<Instance>(instance, TRITONBACKEND_ModelInstanceState)->execute(requests, count); });
}
