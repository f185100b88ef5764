// The backend `onnxruntime`: what Triton calls.

#include <memory>
#include <string>

#include "failure.h"
#include "instance.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

void triton::check(Error* error) {
  if (error == nullptr) return;
  const Failure failure(TRITONSERVER_ErrorCode(error), TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
  throw failure;
}

void triton::note(Error* error) noexcept {
  if (error == nullptr) return;
  log(LogLevel::kError, TRITONSERVER_ErrorMessage(error));
  TRITONSERVER_ErrorDelete(error);
}

void triton::log(LogLevel level, const std::string& message) noexcept {
  Error* const error = TRITONSERVER_LogMessage(level, "onnxruntime_backend", 0, message.c_str());
  if (error != nullptr) TRITONSERVER_ErrorDelete(error);
}

namespace {

using triton::Error, triton::ErrorCode;
using SharedRuntime = std::shared_ptr<Runtime>;

// What an entry point returns: no exception may leave it.
template <typename Action>
Error* guarded(const Action& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const Failure& failure) {
    return triton::TRITONSERVER_ErrorNew(failure.code, failure.what());
  } catch (const std::exception& error) {
    return triton::TRITONSERVER_ErrorNew(ErrorCode::kInternal, error.what());
  }
}

template <typename State, typename Owner>
State* state_of(Owner* owner, Error* (*get_state)(Owner*, void**)) {
  void* state = nullptr;
  check(get_state(owner, &state));
  return static_cast<State*>(state);
}

// Hands a state over to Triton, which keeps it until it is asked for.
template <typename State, typename Owner>
void keep(std::unique_ptr<State> state, Owner* owner, Error* (*set_state)(Owner*, void*)) {
  check(set_state(owner, state.get()));
  state.release();
}

void check_api() {
  uint32_t major = 0, minor = 0;
  check(triton::TRITONBACKEND_ApiVersion(&major, &minor));
  if (major == triton::kApiMajor && minor >= triton::kApiMinor) return;
  const std::string found = std::to_string(major) + "." + std::to_string(minor);
  throw unsupported("a server of the backend API " + found + ", only 1.16 and later ones of 1");
}

Json as_json(triton::Message* message) {
  const char* text = nullptr;
  size_t size = 0;
  check(TRITONSERVER_MessageSerializeToJson(message, &text, &size));
  return Json::parse({text, size});
}

Json model_config(triton::Model* model) {
  triton::Message* message = nullptr;
  check(TRITONBACKEND_ModelConfig(model, triton::kConfigVersion, &message));
  const auto remove = [](triton::Message* owned) { note(TRITONSERVER_MessageDelete(owned)); };
  const std::unique_ptr<triton::Message, decltype(remove)> owned(message, remove);
  return as_json(message);
}

std::string version_folder(triton::Model* model) {
  triton::Artifact artifact = triton::Artifact::kFilesystem;
  const char* path = nullptr;
  check(TRITONBACKEND_ModelRepository(model, &artifact, &path));
  if (artifact != triton::Artifact::kFilesystem) throw unsupported("models that are not in a folder");
  uint64_t version = 0;
  check(TRITONBACKEND_ModelVersion(model, &version));
  return std::string(path) + "/" + std::to_string(version);
}

}  // namespace

EXPORTED Error* TRITONBACKEND_Initialize(triton::Backend* backend) {
  return guarded([&] {
    check_api();
    triton::Message* config = nullptr;
    check(TRITONBACKEND_BackendConfig(backend, &config));
    const auto runtime = std::make_shared<Runtime>(as_json(config));
    keep(std::make_unique<SharedRuntime>(runtime), backend, triton::TRITONBACKEND_BackendSetState);
    triton::log(triton::LogLevel::kInfo, "hcopt's native onnxruntime backend, over ONNX Runtime " + runtime->version() +
                                             " (" + runtime->path() + ")");
  });
}

EXPORTED Error* TRITONBACKEND_Finalize(triton::Backend* backend) {
  // Models that are still there have a share in it.
  return guarded([&] { delete state_of<SharedRuntime>(backend, triton::TRITONBACKEND_BackendState); });
}

EXPORTED Error* TRITONBACKEND_GetBackendAttribute(triton::Backend*, triton::BackendAttributes* attributes) {
  return guarded([&] {
    // A count of 0 leaves the number of instances to Triton, as production does.
    const auto kind = triton::InstanceKind::kCpu;
    check(TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(attributes, kind, 0, nullptr, 0));
    check(TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(attributes, true));
  });
}

EXPORTED Error* TRITONBACKEND_ModelInitialize(triton::Model* model) {
  return guarded([&] {
    triton::Backend* backend = nullptr;
    check(TRITONBACKEND_ModelBackend(model, &backend));
    const auto& runtime = *state_of<SharedRuntime>(backend, triton::TRITONBACKEND_BackendState);
    keep(std::make_unique<Model>(runtime, model_config(model), version_folder(model)), model,
         triton::TRITONBACKEND_ModelSetState);
  });
}

EXPORTED Error* TRITONBACKEND_ModelFinalize(triton::Model* model) {
  return guarded([&] { delete state_of<Model>(model, triton::TRITONBACKEND_ModelState); });
}

EXPORTED Error* TRITONBACKEND_ModelInstanceInitialize(triton::ModelInstance* instance) {
  return guarded([&] {
    triton::InstanceKind kind = triton::InstanceKind::kAuto;
    check(TRITONBACKEND_ModelInstanceKind(instance, &kind));
    if (kind != triton::InstanceKind::kCpu) throw unsupported("instances of another kind than KIND_CPU");
    triton::Model* model = nullptr;
    check(TRITONBACKEND_ModelInstanceModel(instance, &model));
    const Model& state = *state_of<Model>(model, triton::TRITONBACKEND_ModelState);
    keep(Instance::make(state, instance), instance, triton::TRITONBACKEND_ModelInstanceSetState);
  });
}

EXPORTED Error* TRITONBACKEND_ModelInstanceFinalize(triton::ModelInstance* instance) {
  return guarded([&] { delete state_of<Instance>(instance, triton::TRITONBACKEND_ModelInstanceState); });
}

EXPORTED Error* TRITONBACKEND_ModelInstanceExecute(triton::ModelInstance* instance, triton::Request** requests,
                                                   uint32_t count) {
  return guarded(
      [&] { state_of<Instance>(instance, triton::TRITONBACKEND_ModelInstanceState)->execute(requests, count); });
}
