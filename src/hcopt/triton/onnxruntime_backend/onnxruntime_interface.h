// What this backend uses of ONNX Runtime's C interface, declared by hand: a function is a place in the table that
// OrtGetApiBase()->GetApi(version) gives, whose order never changes. Names, places and arguments are those of
// onnxruntime_c_api.h; the types have names of our own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace ort {

// Of ONNX Runtime 1.20, the oldest that is supported; and of 1.22, the first with providers as plugins.
inline constexpr std::uint32_t kApiVersion = 20, kPluginApiVersion = 22;

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
  const AnyFunction* (*GetApi)(std::uint32_t version);
  const char* (*GetVersionString)();
};
using LogFunction = void (*)(
    void* context, int severity, const char* category, const char* id, const char* place, const char* message);

enum : int { kLogWarning = 2, kLogError = 3 };
enum : int { kDisableAll = 0, kBasic = 1, kExtended = 2, kAll = 99 };  // graph optimizations
enum : int { kTypeTensor = 1 };
enum : int { kDeviceAllocator = 0, kDefaultMemory = 0 };
enum : int { kDeviceCpu = 0 };

// Set once, before anything else is called.
inline const AnyFunction* table = nullptr;

template <std::size_t place, typename Signature>
struct Function;
template <std::size_t place, typename Result, typename... Arguments>
struct Function<place, Result(Arguments...)> {
  Result operator()(Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Arguments...)>(table[place])(arguments...);
  }
};

// Throws the failure that a status tells of, and releases the status.
void check(Status* status);

// A function whose result is a status.
template <std::size_t place, typename... Arguments>
struct Checked {
  void operator()(Arguments... arguments) const { check(Function<place, Status*(Arguments...)>()(arguments...)); }
};

inline constexpr Function<2, const char*(const Status*)> GetErrorMessage;
inline constexpr Function<1, int(const Status*)> GetErrorCode;

inline constexpr Checked<4, LogFunction, void*, int, const char*, Env**> CreateEnvWithCustomLogger;
inline constexpr Checked<7, const Env*, const char*, const SessionOptions*, Session**> CreateSession;
inline constexpr Checked<9, Session*, const RunOptions*, const char* const*, const Value* const*, std::size_t,
                         const char* const*, std::size_t, Value**> Run;
inline constexpr Checked<39, RunOptions**> CreateRunOptions;
inline constexpr Checked<165, RunOptions*, const char*, const char*> AddRunConfigEntry;

inline constexpr Checked<10, SessionOptions**> CreateSessionOptions;
inline constexpr Checked<13, SessionOptions*, int> SetSessionExecutionMode;
inline constexpr Checked<16, SessionOptions*> EnableMemPattern;
inline constexpr Checked<17, SessionOptions*> DisableMemPattern;
inline constexpr Checked<18, SessionOptions*> EnableCpuMemArena;
inline constexpr Checked<19, SessionOptions*> DisableCpuMemArena;
inline constexpr Checked<23, SessionOptions*, int> SetSessionGraphOptimizationLevel;
inline constexpr Checked<24, SessionOptions*, int> SetIntraOpNumThreads;
inline constexpr Checked<25, SessionOptions*, int> SetInterOpNumThreads;
inline constexpr Checked<130, SessionOptions*, const char*, const char*> AddSessionConfigEntry;
inline constexpr Checked<228, SessionOptions*, const char*> RegisterCustomOpsLibrary_V2;

using GetCount = void (*)(const Session*, std::size_t*);
inline constexpr Checked<30, const Session*, std::size_t*> SessionGetInputCount;
inline constexpr Checked<31, const Session*, std::size_t*> SessionGetOutputCount;
inline constexpr Checked<32, const Session*, std::size_t*> SessionGetOverridableInitializerCount;
inline constexpr Checked<33, const Session*, std::size_t, TypeInfo**> SessionGetInputTypeInfo;
inline constexpr Checked<34, const Session*, std::size_t, TypeInfo**> SessionGetOutputTypeInfo;
inline constexpr Checked<35, const Session*, std::size_t, TypeInfo**> SessionGetOverridableInitializerTypeInfo;
inline constexpr Checked<36, const Session*, std::size_t, Allocator*, char**> SessionGetInputName;
inline constexpr Checked<37, const Session*, std::size_t, Allocator*, char**> SessionGetOutputName;
inline constexpr Checked<38, const Session*, std::size_t, Allocator*, char**> SessionGetOverridableInitializerName;

inline constexpr Checked<48, Allocator*, const std::int64_t*, std::size_t, int, Value**> CreateTensorAsOrtValue;
inline constexpr Checked<49, const MemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t, int, Value**>
    CreateTensorWithDataAsOrtValue;
inline constexpr Checked<51, Value*, void**> GetTensorMutableData;
inline constexpr Checked<53, const Value*, std::size_t*> GetStringTensorDataLength;
inline constexpr Checked<54, const Value*, void*, std::size_t, std::size_t*, std::size_t> GetStringTensorContent;
inline constexpr Checked<252, Value*, std::size_t, std::size_t, char**> GetResizedStringTensorElementBuffer;
inline constexpr Checked<55, const TypeInfo*, const TensorInfo**> CastTypeInfoToTensorInfo;
inline constexpr Checked<56, const TypeInfo*, int*> GetOnnxTypeFromTypeInfo;
inline constexpr Checked<60, const TensorInfo*, int*> GetTensorElementType;
inline constexpr Checked<61, const TensorInfo*, std::size_t*> GetDimensionsCount;
inline constexpr Checked<62, const TensorInfo*, std::int64_t*, std::size_t> GetDimensions;
inline constexpr Checked<65, const Value*, TensorInfo**> GetTensorTypeAndShape;

inline constexpr Checked<69, int, int, MemoryInfo**> CreateCpuMemoryInfo;
inline constexpr Checked<76, Allocator*, void*> AllocatorFree;
inline constexpr Checked<78, Allocator**> GetAllocatorWithDefaultOptions;

inline constexpr Function<92, void(Env*)> ReleaseEnv;
inline constexpr Function<93, void(Status*)> ReleaseStatus;
inline constexpr Function<94, void(MemoryInfo*)> ReleaseMemoryInfo;
inline constexpr Function<95, void(Session*)> ReleaseSession;
inline constexpr Function<96, void(Value*)> ReleaseValue;
inline constexpr Function<97, void(RunOptions*)> ReleaseRunOptions;
inline constexpr Function<98, void(TypeInfo*)> ReleaseTypeInfo;
inline constexpr Function<99, void(TensorInfo*)> ReleaseTensorTypeAndShapeInfo;
inline constexpr Function<100, void(SessionOptions*)> ReleaseSessionOptions;

// From kPluginApiVersion on.
inline constexpr Checked<301, Env*, const char*, const char*> RegisterExecutionProviderLibrary;
inline constexpr Checked<303, const Env*, const EpDevice* const**, std::size_t*> GetEpDevices;
inline constexpr Checked<304, SessionOptions*, Env*, const EpDevice* const*, std::size_t, const char* const*,
                         const char* const*, std::size_t> SessionOptionsAppendExecutionProvider_V2;
inline constexpr Function<307, int(const HardwareDevice*)> HardwareDevice_Type;
inline constexpr Function<312, const char*(const EpDevice*)> EpDevice_EpName;
inline constexpr Function<316, const HardwareDevice*(const EpDevice*)> EpDevice_Device;

struct Release {
  void operator()(Env* value) const { ReleaseEnv(value); }
  void operator()(Status* value) const { ReleaseStatus(value); }
  void operator()(MemoryInfo* value) const { ReleaseMemoryInfo(value); }
  void operator()(Session* value) const { ReleaseSession(value); }
  void operator()(Value* value) const { ReleaseValue(value); }
  void operator()(RunOptions* value) const { ReleaseRunOptions(value); }
  void operator()(TypeInfo* value) const { ReleaseTypeInfo(value); }
  void operator()(TensorInfo* value) const { ReleaseTensorTypeAndShapeInfo(value); }
  void operator()(SessionOptions* value) const { ReleaseSessionOptions(value); }
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
