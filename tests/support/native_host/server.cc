#include "server.h"

namespace triton {

namespace {

Error* result(const char* function) {
  if (++calls != failing_call) return nullptr;
  failed_function = function;
  return new Error{ErrorCode::kInternal, std::string("injected into ") + function};
}

}  // namespace

// What has to fail where a test says so.
#define MAY_FAIL \
  if (Error* const error = result(__func__)) return error

extern "C" {

Error* TRITONSERVER_ErrorNew(ErrorCode code, const char* message) { return new Error{code, message}; }
void TRITONSERVER_ErrorDelete(Error* error) { delete error; }
const char* TRITONSERVER_ErrorMessage(Error* error) { return error->message.c_str(); }
ErrorCode TRITONSERVER_ErrorCode(Error* error) { return error->code; }

Error* TRITONSERVER_LogMessage(LogLevel, const char*, int, const char* message) {
  MAY_FAIL;
  const std::lock_guard guard(log_mutex);
  logged += std::string(message) + "\n";
  return nullptr;
}

Error* TRITONSERVER_MessageSerializeToJson(Message* message, const char** text, size_t* size) {
  MAY_FAIL;
  *text = message->text.data();
  *size = message->text.size();
  return nullptr;
}

Error* TRITONSERVER_MessageDelete(Message* message) {
  delete message;
  MAY_FAIL;
  return nullptr;
}

Error* TRITONBACKEND_ApiVersion(uint32_t* major, uint32_t* minor) {
  MAY_FAIL;
  *major = api_major;
  *minor = api_minor;
  return nullptr;
}

Error* TRITONBACKEND_BackendConfig(Backend* backend, Message** config) {
  MAY_FAIL;
  // Triton's own for as long as the backend is there.
  static thread_local Message message;
  message.text = backend->config;
  *config = &message;
  return nullptr;
}

Error* TRITONBACKEND_BackendState(Backend* backend, void** state) {
  MAY_FAIL;
  *state = backend->state;
  return nullptr;
}

Error* TRITONBACKEND_BackendSetState(Backend* backend, void* state) {
  MAY_FAIL;
  backend->state = state;
  return nullptr;
}

Error* TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(BackendAttributes* attributes, InstanceKind kind,
                                                               uint64_t count, const uint64_t*, uint64_t) {
  MAY_FAIL;
  CHECK(count == 0);
  attributes->kind = kind;
  return nullptr;
}

Error* TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(BackendAttributes* attributes, bool enabled) {
  MAY_FAIL;
  attributes->loads_in_parallel = enabled;
  return nullptr;
}

Error* TRITONBACKEND_ModelBackend(Model* model, Backend** backend) {
  MAY_FAIL;
  *backend = model->backend;
  return nullptr;
}

Error* TRITONBACKEND_ModelConfig(Model* model, uint32_t version, Message** config) {
  MAY_FAIL;
  CHECK(version == 1);
  *config = new Message{model->config};
  return nullptr;
}

Error* TRITONBACKEND_ModelRepository(Model* model, Artifact* type, const char** path) {
  MAY_FAIL;
  *type = artifact;
  *path = model->folder.c_str();
  return nullptr;
}

Error* TRITONBACKEND_ModelVersion(Model*, uint64_t* version) {
  MAY_FAIL;
  *version = 1;
  return nullptr;
}

Error* TRITONBACKEND_ModelState(Model* model, void** state) {
  MAY_FAIL;
  *state = model->state;
  return nullptr;
}

Error* TRITONBACKEND_ModelSetState(Model* model, void* state) {
  MAY_FAIL;
  model->state = state;
  return nullptr;
}

Error* TRITONBACKEND_ModelInstanceKind(ModelInstance* instance, InstanceKind* kind) {
  MAY_FAIL;
  *kind = instance->kind;
  return nullptr;
}

Error* TRITONBACKEND_ModelInstanceModel(ModelInstance* instance, Model** model) {
  MAY_FAIL;
  *model = instance->model;
  return nullptr;
}

Error* TRITONBACKEND_ModelInstanceState(ModelInstance* instance, void** state) {
  MAY_FAIL;
  *state = instance->state;
  return nullptr;
}

Error* TRITONBACKEND_ModelInstanceSetState(ModelInstance* instance, void* state) {
  MAY_FAIL;
  instance->state = state;
  return nullptr;
}

Error* TRITONBACKEND_ModelInstanceReportStatistics(ModelInstance*, Request* request, bool success, uint64_t start,
                                                   uint64_t compute_start, uint64_t compute_end, uint64_t end) {
  MAY_FAIL;
  CHECK(request->released == 0);
  CHECK(0 < start && start <= compute_start && compute_start <= compute_end && compute_end <= end);
  ++request->counted;
  request->success = success;
  return nullptr;
}

Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(ModelInstance* instance, uint64_t batch_size, uint64_t start,
                                                        uint64_t compute_start, uint64_t compute_end, uint64_t end) {
  MAY_FAIL;
  CHECK(0 < start && start <= compute_start && compute_start <= compute_end && compute_end <= end);
  instance->batches.push_back(batch_size);
  return nullptr;
}

Error* TRITONBACKEND_RequestInput(Request* request, const char* name, Input** input) {
  MAY_FAIL;
  CHECK(request->released == 0);
  const auto found = request->inputs.find(name);
  if (found == request->inputs.end()) return new Error{ErrorCode::kInvalid, std::string("no input ") + name};
  *input = &found->second;
  return nullptr;
}

Error* TRITONBACKEND_RequestOutputCount(Request* request, uint32_t* count) {
  MAY_FAIL;
  *count = static_cast<uint32_t>(request->wanted.size());
  return nullptr;
}

Error* TRITONBACKEND_RequestOutputName(Request* request, uint32_t index, const char** name) {
  MAY_FAIL;
  *name = request->wanted.at(index).c_str();
  return nullptr;
}

Error* TRITONBACKEND_RequestRelease(Request* request, uint32_t flags) {
  CHECK(flags == 1);
  ++request->released;
  MAY_FAIL;
  return nullptr;
}

Error* TRITONBACKEND_InputProperties(Input* input, const char** name, DataType* type, const int64_t** shape,
                                     uint32_t* rank, uint64_t* byte_size, uint32_t* buffer_count) {
  MAY_FAIL;
  CHECK(name == nullptr);
  *type = input->type;
  *shape = input->shape.data();
  *rank = static_cast<uint32_t>(input->shape.size());
  *byte_size = input->byte_size;
  *buffer_count = static_cast<uint32_t>(input->buffers.size());
  return nullptr;
}

Error* TRITONBACKEND_InputBuffer(Input* input, uint32_t index, const void** data, uint64_t* byte_size, Memory* memory,
                                 int64_t*) {
  MAY_FAIL;
  const Buffer& buffer = input->buffers.at(index);
  *data = buffer.data;
  *byte_size = buffer.size;
  *memory = buffer.memory;
  return nullptr;
}

Error* TRITONBACKEND_ResponseNew(Response** response, Request* request) {
  MAY_FAIL;
  CHECK(request->released == 0);
  *response = new Response{request};
  return nullptr;
}

Error* TRITONBACKEND_ResponseOutput(Response* response, Output** output, const char* name, DataType type,
                                    const int64_t* shape, uint32_t rank) {
  MAY_FAIL;
  CHECK(response->outputs.count(name) == 0);
  *output = &response->outputs[name];
  **output = {type, {shape, shape + rank}, {}, response->request->output_memory};
  return nullptr;
}

Error* TRITONBACKEND_ResponseSend(Response* response, uint32_t flags, Error* error) {
  CHECK(flags == 1);
  Request& request = *response->request;
  CHECK(request.released == 0);
  ++request.sent;
  if (error != nullptr) request.error = *error;
  request.outputs = std::move(response->outputs);
  delete response;
  MAY_FAIL;
  return nullptr;
}

Error* TRITONBACKEND_OutputBuffer(Output* output, void** data, uint64_t byte_size, Memory* memory, int64_t*) {
  MAY_FAIL;
  CHECK(*memory == Memory::kCpu);
  *memory = output->memory;
  output->data.resize(byte_size);
  *data = byte_size == 0 ? nullptr : output->data.data();
  return nullptr;
}

}  // extern "C"
}  // namespace triton
