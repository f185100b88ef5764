// What this backend uses of Triton's C interface for backends, declared by hand. Triton gives these functions when it
// loads the backend; the names and the order of arguments are those of tritonbackend.h and tritonserver.h (release
// 24.10, API 1.19), the types have names of our own, since C does not look at them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace triton {

// Release 23.10, the first with all that is declared below.
inline constexpr std::uint32_t kApiMajor = 1, kApiMinor = 16;

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

enum class ErrorCode : int { kInternal = 1, kNotFound = 2, kInvalid = 3, kUnavailable = 4, kUnsupported = 5 };
enum class LogLevel : int { kInfo = 0, kWarning = 1, kError = 2 };
enum class InstanceKind : int { kAuto = 0, kCpu = 1, kGpu = 2, kModel = 3 };
enum class Memory : int { kCpu = 0, kPinned = 1, kGpu = 2 };
enum class ArtifactType : int { kFilesystem = 0 };
// The numbers of tensor types are in tensor_types.h.
using DataType = int;

inline constexpr std::uint32_t kFinalResponse = 1, kReleaseAll = 1;
inline constexpr std::uint32_t kConfigVersion = 1;

}  // namespace triton

extern "C" {

triton::Error* TRITONSERVER_ErrorNew(triton::ErrorCode code, const char* message);
void TRITONSERVER_ErrorDelete(triton::Error* error);
const char* TRITONSERVER_ErrorMessage(triton::Error* error);
triton::ErrorCode TRITONSERVER_ErrorCode(triton::Error* error);
triton::Error* TRITONSERVER_LogMessage(triton::LogLevel level, const char* file, int line, const char* message);
triton::Error* TRITONSERVER_MessageSerializeToJson(triton::Message* message, const char** text, std::size_t* size);
triton::Error* TRITONSERVER_MessageDelete(triton::Message* message);

triton::Error* TRITONBACKEND_ApiVersion(std::uint32_t* major, std::uint32_t* minor);
// The message stays Triton's.
triton::Error* TRITONBACKEND_BackendConfig(triton::Backend* backend, triton::Message** config);
triton::Error* TRITONBACKEND_BackendState(triton::Backend* backend, void** state);
triton::Error* TRITONBACKEND_BackendSetState(triton::Backend* backend, void* state);
triton::Error* TRITONBACKEND_BackendAttributeAddPreferredInstanceGroup(
    triton::BackendAttributes* attributes, triton::InstanceKind kind, std::uint64_t count,
    const std::uint64_t* device_ids, std::uint64_t device_count);
triton::Error* TRITONBACKEND_BackendAttributeSetParallelModelInstanceLoading(
    triton::BackendAttributes* attributes, bool enabled);

triton::Error* TRITONBACKEND_ModelName(triton::Model* model, const char** name);
triton::Error* TRITONBACKEND_ModelVersion(triton::Model* model, std::uint64_t* version);
triton::Error* TRITONBACKEND_ModelRepository(triton::Model* model, triton::ArtifactType* type, const char** path);
// The message becomes the caller's.
triton::Error* TRITONBACKEND_ModelConfig(triton::Model* model, std::uint32_t version, triton::Message** config);
triton::Error* TRITONBACKEND_ModelBackend(triton::Model* model, triton::Backend** backend);
triton::Error* TRITONBACKEND_ModelState(triton::Model* model, void** state);
triton::Error* TRITONBACKEND_ModelSetState(triton::Model* model, void* state);

triton::Error* TRITONBACKEND_ModelInstanceKind(triton::ModelInstance* instance, triton::InstanceKind* kind);
triton::Error* TRITONBACKEND_ModelInstanceModel(triton::ModelInstance* instance, triton::Model** model);
triton::Error* TRITONBACKEND_ModelInstanceState(triton::ModelInstance* instance, void** state);
triton::Error* TRITONBACKEND_ModelInstanceSetState(triton::ModelInstance* instance, void* state);
// Times in ns of the steady clock: execution begins, computation begins and ends, execution ends.
triton::Error* TRITONBACKEND_ModelInstanceReportStatistics(
    triton::ModelInstance* instance, triton::Request* request, bool success, std::uint64_t start,
    std::uint64_t compute_start, std::uint64_t compute_end, std::uint64_t end);
triton::Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(
    triton::ModelInstance* instance, std::uint64_t batch_size, std::uint64_t start, std::uint64_t compute_start,
    std::uint64_t compute_end, std::uint64_t end);

triton::Error* TRITONBACKEND_RequestInput(triton::Request* request, const char* name, triton::Input** input);
triton::Error* TRITONBACKEND_RequestInputCount(triton::Request* request, std::uint32_t* count);
triton::Error* TRITONBACKEND_RequestOutputCount(triton::Request* request, std::uint32_t* count);
triton::Error* TRITONBACKEND_RequestOutputName(triton::Request* request, std::uint32_t index, const char** name);
triton::Error* TRITONBACKEND_RequestRelease(triton::Request* request, std::uint32_t flags);
triton::Error* TRITONBACKEND_InputProperties(
    triton::Input* input, const char** name, triton::DataType* type, const std::int64_t** shape, std::uint32_t* rank,
    std::uint64_t* byte_size, std::uint32_t* buffer_count);
triton::Error* TRITONBACKEND_InputBuffer(
    triton::Input* input, std::uint32_t index, const void** data, std::uint64_t* byte_size, triton::Memory* memory,
    std::int64_t* memory_id);

triton::Error* TRITONBACKEND_ResponseNew(triton::Response** response, triton::Request* request);
triton::Error* TRITONBACKEND_ResponseOutput(
    triton::Response* response, triton::Output** output, const char* name, triton::DataType type,
    const std::int64_t* shape, std::uint32_t rank);
// The response becomes Triton's, the error stays the caller's.
triton::Error* TRITONBACKEND_ResponseSend(triton::Response* response, std::uint32_t flags, triton::Error* error);
// `memory` says what is wished for, and then what was given.
triton::Error* TRITONBACKEND_OutputBuffer(
    triton::Output* output, void** data, std::uint64_t byte_size, triton::Memory* memory, std::int64_t* memory_id);

}  // extern "C"
