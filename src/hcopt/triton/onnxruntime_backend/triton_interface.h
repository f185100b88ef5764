// What this backend uses of Triton's C interface for backends, declared by hand. Triton's process has these functions;
// their names and arguments are those of tritonbackend.h and tritonserver.h in release 24.10 (API 1.19). The types have
// names of our own, which C linkage does not look at.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace triton {

// Release 23.10 is the first with all that is declared below.
constexpr uint32_t kApiMajor = 1, kApiMinor = 16;

struct Backend;
struct BackendAttributes;
struct Model;
struct ModelInstance;
struct Request;
struct Input;
struct Response;
struct Output;
struct Error;
struct Message;

enum class ErrorCode { kInternal = 1, kNotFound = 2, kInvalid = 3, kUnavailable = 4, kUnsupported = 5 };
enum class LogLevel { kInfo = 0, kWarning = 1, kError = 2 };
enum class InstanceKind { kAuto = 0, kCpu = 1, kGpu = 2, kModel = 3 };
enum class Memory { kCpu = 0, kPinned = 1, kGpu = 2 };
enum class Artifact { kFilesystem = 0 };
using DataType = int;  // tensor_types.h has the numbers

constexpr uint32_t kFinalResponse = 1, kReleaseAll = 1, kConfigVersion = 1;

extern "C" {

Error* TRITONSERVER_ErrorNew(ErrorCode code, const char* message);
void TRITONSERVER_ErrorDelete(Error* error);
const char* TRITONSERVER_ErrorMessage(Error* error);
ErrorCode TRITONSERVER_ErrorCode(Error* error);
Error* TRITONSERVER_LogMessage(LogLevel level, const char* file, int line, const char* message);
Error* TRITONSERVER_MessageSerializeToJson(Message* message, const char** text, size_t* size);
Error* TRITONSERVER_MessageDelete(Message* message);

Error* TRITONBACKEND_ApiVersion(uint32_t* major, uint32_t* minor);
Error* TRITONBACKEND_BackendConfig(Backend* backend, Message** config);  // the message stays Triton's
Error* TRITONBACKEND_BackendState(Backend* backend, void** state);
Error* TRITONBACKEND_BackendSetState(Backend* backend, void* state);
Error* TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(BackendAttributes* attributes, InstanceKind kind,
                                                               uint64_t count, const uint64_t* devices,
                                                               uint64_t device_count);
Error* TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(BackendAttributes* attributes, bool enabled);

Error* TRITONBACKEND_ModelBackend(Model* model, Backend** backend);
Error* TRITONBACKEND_ModelConfig(Model* model, uint32_t version, Message** config);  // the message becomes the caller's
Error* TRITONBACKEND_ModelRepository(Model* model, Artifact* artifact, const char** path);
Error* TRITONBACKEND_ModelVersion(Model* model, uint64_t* version);
Error* TRITONBACKEND_ModelState(Model* model, void** state);
Error* TRITONBACKEND_ModelSetState(Model* model, void* state);

Error* TRITONBACKEND_ModelInstanceKind(ModelInstance* instance, InstanceKind* kind);
Error* TRITONBACKEND_ModelInstanceModel(ModelInstance* instance, Model** model);
Error* TRITONBACKEND_ModelInstanceState(ModelInstance* instance, void** state);
Error* TRITONBACKEND_ModelInstanceSetState(ModelInstance* instance, void* state);
// Times are in ns of the steady clock.
Error* TRITONBACKEND_ModelInstanceReportStatistics(ModelInstance* instance, Request* request, bool success,
                                                   uint64_t start, uint64_t compute_start, uint64_t compute_end,
                                                   uint64_t end);
Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(ModelInstance* instance, uint64_t batch_size, uint64_t start,
                                                        uint64_t compute_start, uint64_t compute_end, uint64_t end);

Error* TRITONBACKEND_RequestInput(Request* request, const char* name, Input** input);
Error* TRITONBACKEND_RequestOutputCount(Request* request, uint32_t* count);
Error* TRITONBACKEND_RequestOutputName(Request* request, uint32_t index, const char** name);
Error* TRITONBACKEND_RequestRelease(Request* request, uint32_t flags);
Error* TRITONBACKEND_InputProperties(Input* input, const char** name, DataType* type, const int64_t** shape,
                                     uint32_t* rank, uint64_t* byte_size, uint32_t* buffer_count);
Error* TRITONBACKEND_InputBuffer(Input* input, uint32_t index, const void** data, uint64_t* byte_size, Memory* memory,
                                 int64_t* memory_id);

Error* TRITONBACKEND_ResponseNew(Response** response, Request* request);
Error* TRITONBACKEND_ResponseOutput(Response* response, Output** output, const char* name, DataType type,
                                    const int64_t* shape, uint32_t rank);
// The response becomes Triton's, the error stays the caller's.
Error* TRITONBACKEND_ResponseSend(Response* response, uint32_t flags, Error* error);
// `memory` says what is wished for, and then what was given.
Error* TRITONBACKEND_OutputBuffer(Output* output, void** data, uint64_t byte_size, Memory* memory, int64_t* memory_id);

}  // extern "C"
}  // namespace triton
