// What this backend uses of ONNX Runtime's C interface, declared by hand: a function is a place in the table that
// OrtGetApiBase()->GetApi(version) gives, whose order never changes. Names, places and arguments are those of
// onnxruntime_c_api.h; the types have names of our own.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <memory>

namespace ort {

// Of ONNX Runtime 1.20, the oldest that is supported, and of 1.22, the first that takes providers as plugins.
constexpr uint32_t kApiVersion = 20, kPluginApiVersion = 22;

struct Status;
struct Env;
struct Session;
struct SessionOptions;
struct RunOptions;
struct Value;
struct TypeInfo;
struct TensorInfo;
struct MemoryInfo;
struct Allocator;
struct EpDevice;
struct HardwareDevice;

using AnyFunction = void (*)();
struct ApiBase {
  const AnyFunction* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};
using LogFunction = void (*)(void* context, int severity, const char* category, const char* id, const char* place,
                             const char* message);

enum { kInvalidArgument = 2 };                                   // error codes
enum { kLogWarning = 2, kLogError = 3 };                         // severities
enum { kDisableAll = 0, kBasic = 1, kExtended = 2, kAll = 99 };  // graph optimizations
enum { kSequential = 0, kParallel = 1 };                         // execution modes
enum { kTensor = 1 };                                            // kinds of values
enum { kDeviceAllocator = 0, kDefaultMemory = 0 };
enum { kCpuDevice = 0 };

// Set once, before any of the functions is called.
inline const AnyFunction* table = nullptr;

template <size_t place, typename Result, typename... Arguments>
Result call(Arguments... arguments) {
  return reinterpret_cast<Result (*)(Arguments...)>(table[place])(arguments...);
}

// Throws the failure that a status tells of, and releases the status.
void check(Status* status);

template <size_t place, typename Result, typename... Arguments>
struct Function {
  Result operator()(Arguments... arguments) const { return call<place, Result, Arguments...>(arguments...); }
};
// A function that gives a status.
template <size_t place, typename... Arguments>
struct Checked {
  void operator()(Arguments... arguments) const { check(call<place, Status*, Arguments...>(arguments...)); }
};

constexpr Function<1, int, const Status*> GetErrorCode;
constexpr Function<2, const char*, const Status*> GetErrorMessage;
constexpr Checked<4, LogFunction, void*, int, const char*, Env**> CreateEnvWithCustomLogger;
constexpr Checked<7, const Env*, const char*, const SessionOptions*, Session**> CreateSession;
constexpr Checked<9, Session*, const RunOptions*, const char* const*, const Value* const*, size_t, const char* const*,
                  size_t, Value**>
    Run;
constexpr Checked<39, RunOptions**> CreateRunOptions;
constexpr Checked<165, RunOptions*, const char*, const char*> AddRunConfigEntry;

constexpr Checked<10, SessionOptions**> CreateSessionOptions;
constexpr Checked<13, SessionOptions*, int> SetSessionExecutionMode;
constexpr Checked<16, SessionOptions*> EnableMemPattern;
constexpr Checked<17, SessionOptions*> DisableMemPattern;
constexpr Checked<18, SessionOptions*> EnableCpuMemArena;
constexpr Checked<19, SessionOptions*> DisableCpuMemArena;
constexpr Checked<23, SessionOptions*, int> SetSessionGraphOptimizationLevel;
constexpr Checked<24, SessionOptions*, int> SetIntraOpNumThreads;
constexpr Checked<25, SessionOptions*, int> SetInterOpNumThreads;
constexpr Checked<130, SessionOptions*, const char*, const char*> AddSessionConfigEntry;
constexpr Checked<228, SessionOptions*, const char*> RegisterCustomOpsLibrary_V2;

constexpr Checked<30, const Session*, size_t*> SessionGetInputCount;
constexpr Checked<31, const Session*, size_t*> SessionGetOutputCount;
constexpr Checked<32, const Session*, size_t*> SessionGetOverridableInitializerCount;
constexpr Checked<33, const Session*, size_t, TypeInfo**> SessionGetInputTypeInfo;
constexpr Checked<34, const Session*, size_t, TypeInfo**> SessionGetOutputTypeInfo;
constexpr Checked<35, const Session*, size_t, TypeInfo**> SessionGetOverridableInitializerTypeInfo;
constexpr Checked<36, const Session*, size_t, Allocator*, char**> SessionGetInputName;
constexpr Checked<37, const Session*, size_t, Allocator*, char**> SessionGetOutputName;
constexpr Checked<38, const Session*, size_t, Allocator*, char**> SessionGetOverridableInitializerName;

constexpr Checked<48, Allocator*, const int64_t*, size_t, int, Value**> CreateTensorAsOrtValue;
constexpr Checked<49, const MemoryInfo*, void*, size_t, const int64_t*, size_t, int, Value**>
    CreateTensorWithDataAsOrtValue;
constexpr Checked<51, Value*, void**> GetTensorMutableData;
constexpr Checked<53, const Value*, size_t*> GetStringTensorDataLength;
constexpr Checked<54, const Value*, void*, size_t, size_t*, size_t> GetStringTensorContent;
constexpr Checked<252, Value*, size_t, size_t, char**> GetResizedStringTensorElementBuffer;
constexpr Checked<55, const TypeInfo*, const TensorInfo**> CastTypeInfoToTensorInfo;
constexpr Checked<56, const TypeInfo*, int*> GetOnnxTypeFromTypeInfo;
constexpr Checked<60, const TensorInfo*, int*> GetTensorElementType;
constexpr Checked<61, const TensorInfo*, size_t*> GetDimensionsCount;
constexpr Checked<62, const TensorInfo*, int64_t*, size_t> GetDimensions;
constexpr Checked<65, const Value*, TensorInfo**> GetTensorTypeAndShape;
constexpr Checked<69, int, int, MemoryInfo**> CreateCpuMemoryInfo;
constexpr Checked<76, Allocator*, void*> AllocatorFree;
constexpr Checked<78, Allocator**> GetAllocatorWithDefaultOptions;

// From kPluginApiVersion on.
constexpr Checked<301, Env*, const char*, const char*> RegisterExecutionProviderLibrary;
constexpr Checked<303, const Env*, const EpDevice* const**, size_t*> GetEpDevices;
constexpr Checked<304, SessionOptions*, Env*, const EpDevice* const*, size_t, const char* const*, const char* const*,
                  size_t>
    SessionOptionsAppendExecutionProvider_V2;
constexpr Function<307, int, const HardwareDevice*> HardwareDevice_Type;
constexpr Function<312, const char*, const EpDevice*> EpDevice_EpName;
constexpr Function<316, const HardwareDevice*, const EpDevice*> EpDevice_Device;

struct Release {
  void operator()(Env* value) const { call<92, void>(value); }
  void operator()(Status* value) const { call<93, void>(value); }
  void operator()(MemoryInfo* value) const { call<94, void>(value); }
  void operator()(Session* value) const { call<95, void>(value); }
  void operator()(Value* value) const { call<96, void>(value); }
  void operator()(RunOptions* value) const { call<97, void>(value); }
  void operator()(TypeInfo* value) const { call<98, void>(value); }
  void operator()(TensorInfo* value) const { call<99, void>(value); }
  void operator()(SessionOptions* value) const { call<100, void>(value); }
};
template <typename Type>
using Owned = std::unique_ptr<Type, Release>;

// Calls a function whose last argument is where it puts what it makes.
template <typename Type, typename Create, typename... Arguments>
Owned<Type> make(const Create& create, Arguments... arguments) {
  Type* value = nullptr;
  create(arguments..., &value);
  return Owned<Type>(value);
}

}  // namespace ort
