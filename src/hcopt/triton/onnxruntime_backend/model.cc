#include "model.h"

#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "failure.h"

namespace {

constexpr const char *kArenaShrinkage = "memory.enable_memory_arena_shrinkage", *kSessionPrefix = "session.";
constexpr const char *kIntraOp = "intra_op_thread_count", *kInterOp = "inter_op_thread_count";
// The server's cores where it is bound to some, as ONNX Runtime takes them: hcopt/triton/embedded/launch.py.
constexpr const char *kCores = "HCOPT_SERVER_CORES", *kAffinities = "session.intra_op_thread_affinities";
// The one that Triton's own backend takes too, from release 25.02 on.
constexpr const char* kTritonsSessionKey = "session.use_device_allocator_for_initializers";
// Keys that Triton's own backend has for GPUs, without effect on a CPU, and the last that Triton reads itself.
constexpr const char* kNotOurs[] = {"cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy",
                                          "do_copy_in_default_stream", "TRITON_BATCH_STRATEGY_PATH"};

using Choices = std::initializer_list<std::pair<const char*, int>>;
constexpr Choices kSwitch = {{"0", 0}, {"false", 0}, {"1", 1}, {"true", 1}};
constexpr Choices kLevels = {{"-1", ort::kBasic}, {"0", ort::kAll}, {"1", ort::kExtended}, {"2", ort::kDisableAll}};

int choice(const std::string& key, std::string value, Choices choices) {
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char letter) { return std::tolower(letter); });
  std::string expected;
  for (const auto& [text, meaning] : choices) {
    if (value == text) return meaning;
    expected += (expected.empty() ? "" : ", ") + std::string(text);
  }
  throw invalid(key + " is '" + value + "'; expected one of " + expected);
}

// 0 leaves the number to ONNX Runtime, as setting nothing does.
int thread_count(const std::string& key, const std::string& value) {
  int count = 0;
  const char* const end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, count);
  if (value.empty() || error != std::errc() || stop != end || count < 0) {
    throw invalid(key + " is '" + value + "'; expected a whole number, 0 or more");
  }
  return count;
}

void refuse_unsupported(const Json& config) {
  if (!config["sequence_batching"].is_null()) throw unsupported("sequence_batching");
  if (config["model_transaction_policy"]["decoupled"].is_true()) throw unsupported("a decoupled transaction policy");
  if (!config["batch_input"].items.empty() || !config["batch_output"].items.empty()) {
    throw unsupported("batch_input and batch_output");
  }
  for (const Json& input : config["input"].items) {
    if (input["allow_ragged_batch"].is_true()) throw unsupported("allow_ragged_batch");
  }
}

std::vector<Tensor> read_tensors(const Json& list) {
  std::vector<Tensor> tensors;
  for (const Json& item : list.items) {
    const auto has_name = [&](const TensorType& type) { return item["data_type"].text == type.name; };
    const auto* const type = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes), has_name);
    if (type == std::end(kTensorTypes)) throw unsupported("the type '" + item["data_type"].text + "'");
    const Json& dims = item["reshape"].is_null() ? item["dims"] : item["reshape"]["shape"];
    tensors.push_back({item["name"].text, type, dims.integers(), item["optional"].is_true()});
  }
  return tensors;
}

std::string model_file(const std::string& folder, const Json& config) {
  const std::string& name = config["default_model_filename"].text;
  std::string file = folder + "/" + (name.empty() ? "model.onnx" : name);
  struct stat found;
  if (stat(file.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) file += "/model.onnx";
  if (stat(file.c_str(), &found) != 0) throw Failure(triton::ErrorCode::kUnavailable, "there is no file " + file);
  return file;
}

// An input or output of the model itself.
struct Found {
  std::string name;
  int type = 0;  // ONNX Runtime's number; 0 where it is no tensor
  std::vector<int64_t> shape;
};

template <typename Count, typename Name, typename Type>
std::vector<Found> list(const ort::Session* session, ort::Allocator* allocator, Count get_count, Name get_name,
                        Type get_type) {
  size_t count = 0;
  get_count(session, &count);
  std::vector<Found> tensors(count);
  for (size_t index = 0; index < count; ++index) {
    Found& tensor = tensors[index];
    char* name = nullptr;
    get_name(session, index, allocator, &name);
    tensor.name = name;
    ort::AllocatorFree(allocator, name);
    const auto type = ort::make<ort::TypeInfo>(get_type, session, index);
    int kind = 0;
    ort::GetOnnxTypeFromTypeInfo(type.get(), &kind);
    if (kind != ort::kTensor) continue;
    const ort::TensorInfo* info = nullptr;
    ort::CastTypeInfoToTensorInfo(type.get(), &info);
    ort::GetTensorElementType(info, &tensor.type);
    size_t rank = 0;
    ort::GetDimensionsCount(info, &rank);
    tensor.shape.resize(rank);
    ort::GetDimensions(info, tensor.shape.data(), rank);
  }
  return tensors;
}

template <typename Type>
const Type* find(const std::vector<Type>& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const Type& one) { return one.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

std::string names(const std::vector<Found>& tensors) {
  std::string text;
  for (const Found& tensor : tensors) text += (text.empty() ? "" : ", ") + tensor.name;
  return text;
}

std::string written(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t dim : shape) text += (text.empty() ? "" : ", ") + std::to_string(dim);
  return "[" + text + "]";
}

// An input's dynamic dimension may be narrowed down; outputs have to be declared exactly as they are.
void check_tensor(const std::string& what, const Tensor& tensor, const Found& found, bool batches, bool exactly) {
  if (found.type != tensor.type->onnxruntime) {
    const auto is_own = [&](const TensorType& type) { return type.onnxruntime == found.type; };
    const auto* const own = std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes), is_own);
    const std::string name = own == std::end(kTensorTypes) ? "something that Triton has no type for" : own->name;
    throw invalid(what + ": " + name + " in the model, " + tensor.type->name + " here");
  }
  if (found.shape.empty()) {  // a scalar, or a shape that the model leaves open
    const bool ones = std::all_of(tensor.dims.begin(), tensor.dims.end(), [](int64_t dim) { return dim == 1; });
    const std::string own = ": a scalar or of unknown shape in the model, ";
    if (!ones) throw invalid(what + own + written(tensor.dims) + " here; expected [1]");
    return;
  }
  if (batches && found.shape[0] != -1) {
    throw invalid(what + ": max_batch_size has to be 0, the model's batch size is fixed: " + written(found.shape));
  }
  std::vector<int64_t> wanted = tensor.dims;
  if (batches) wanted.insert(wanted.begin(), -1);
  const auto same = [&](int64_t own, int64_t here) { return own == here || (own == -1 && !exactly); };
  if (!std::equal(found.shape.begin(), found.shape.end(), wanted.begin(), wanted.end(), same)) {
    throw invalid(what + ": " + written(found.shape) + " in the model, " + written(wanted) + " here");
  }
}

}  // namespace

Model::Model(std::shared_ptr<Runtime> runtime, const Json& config, const std::string& folder)
    : runtime_(std::move(runtime)),
      name_(config["name"].text),
      batches_(!config["max_batch_size"].is_null() && config["max_batch_size"].integer() > 0),
      options_(ort::make<ort::SessionOptions>(ort::CreateSessionOptions)) {
  refuse_unsupported(config);
  inputs_ = read_tensors(config["input"]);
  outputs_ = read_tensors(config["output"]);
  const Json& optimization = config["optimization"];
  const Json& level = optimization["graph"]["level"];
  ort::SetSessionGraphOptimizationLevel(
      options_.get(), choice("optimization.graph.level", level.is_null() ? "0" : level.text, kLevels));
  const Json& parameters = config["parameters"];
  go_by_cores(parameters);
  for (const std::string& key : parameters.keys) set_parameter(key, parameters[key]["string_value"].text);
  for (const Json& accelerator : optimization["execution_accelerators"]["cpu_execution_accelerator"].items) {
    add_accelerator(accelerator);
  }
  for (const Json& library : config["model_operations"]["op_library_filename"].items) {
    ort::RegisterCustomOpsLibrary_V2(options_.get(), library.text.c_str());
  }
  file_ = model_file(folder, config);
}

// By itself ONNX Runtime takes a thread for each core of the machine and pins all but the first, which is the caller's,
// whatever CPUs the process has. This is what it would do on a machine that has the server's cores alone.
void Model::go_by_cores(const Json& parameters) {
  const char* const given = std::getenv(kCores);
  if (given == nullptr || *given == '\0') return;
  const std::string cores = given;
  const int count = 1 + static_cast<int>(std::count(cores.begin(), cores.end(), ';'));
  const auto is_open = [&](const char* key) {
    const std::string& value = parameters[key]["string_value"].text;
    return value.empty() || thread_count(key, value) == 0;
  };
  const std::string& mode = parameters["execution_mode"]["string_value"].text;
  if (is_open(kInterOp)) ort::SetInterOpNumThreads(options_.get(), count);
  if (!is_open(kIntraOp)) return;
  ort::SetIntraOpNumThreads(options_.get(), count);
  // In parallel mode it pins nothing.
  if (count == 1 || mode == "1") return;
  ort::AddSessionConfigEntry(options_.get(), kAffinities, cores.substr(cores.find(';') + 1).c_str());
}

void Model::set_parameter(const std::string& key, const std::string& value) {
  ort::SessionOptions* const options = options_.get();
  if (key == kIntraOp) {
    threads_ = thread_count(key, value);
    if (threads_) ort::SetIntraOpNumThreads(options, threads_);
  } else if (key == kInterOp) {
    if (const int count = thread_count(key, value)) ort::SetInterOpNumThreads(options, count);
  } else if (key == "execution_mode") {
    ort::SetSessionExecutionMode(options, choice(key, value, {{"0", ort::kSequential}, {"1", ort::kParallel}}));
  } else if (key == "enable_mem_arena") {
    choice(key, value, kSwitch) ? ort::EnableCpuMemArena(options) : ort::DisableCpuMemArena(options);
  } else if (key == "enable_mem_pattern") {
    choice(key, value, kSwitch) ? ort::EnableMemPattern(options) : ort::DisableMemPattern(options);
  } else if (key == kArenaShrinkage) {
    arena_shrinkage_ = value;
  } else if (key.rfind(kSessionPrefix, 0) == 0) {
    ort::AddSessionConfigEntry(options, key.c_str(), value.c_str());
    if (key == kTritonsSessionKey) return;
    triton::log(triton::LogLevel::kWarning,
                name_ + ": ONNX Runtime gets the parameter " + key + "; Triton's own backend would ignore it");
  } else if (std::find(std::begin(kNotOurs), std::end(kNotOurs), key) == std::end(kNotOurs)) {
    triton::log(triton::LogLevel::kWarning, name_ + ": the parameter " + key + " has no effect on this backend");
  }
}

void Model::add_accelerator(const Json& accelerator) {
  const std::string& name = accelerator["name"].text;
  if (name != "openvino") throw invalid("unknown cpu_execution_accelerator '" + name + "'; expected openvino");
  bool is_exact = true;
  const Json& parameters = accelerator["parameters"];
  for (const std::string& key : parameters.keys) {
    if (key != "precision") throw invalid("the accelerator openvino has no parameter " + key);
    is_exact = choice(key, parameters[key].text, {{"f32", 1}, {"bf16", 0}}) == 1;
  }
  runtime_->add_openvino(options_.get(), is_exact ? "f32" : "bf16", threads_);
  with_openvino_ = true;
  triton::log(is_exact ? triton::LogLevel::kInfo : triton::LogLevel::kWarning,
              name_ + ": OpenVINO computes in " + (is_exact ? "f32" : "bf16, which changes the model's answers"));
}

std::pair<ort::Owned<ort::Session>, std::vector<bool>> Model::open_session() const {
  // OpenVINO's provider cannot make two sessions at once. Never destroyed: the server may still load while it ends.
  static std::mutex& one_at_a_time = *new std::mutex;
  std::unique_lock<std::mutex> guard(one_at_a_time, std::defer_lock);
  if (with_openvino_) guard.lock();
  ort::Owned<ort::Session> session;
  try {
    session = ort::make<ort::Session>(ort::CreateSession, runtime_->env(), file_.c_str(), options_.get());
  } catch (const Failure& failure) {
    throw Failure(failure.code, "onnxruntime cannot load " + file_ + ": " + failure.what());
  }
  std::vector<bool> scalars = check_tensors(session.get());
  return {std::move(session), std::move(scalars)};
}

ort::Owned<ort::RunOptions> Model::run_options() const {
  auto options = ort::make<ort::RunOptions>(ort::CreateRunOptions);
  if (!arena_shrinkage_.empty()) ort::AddRunConfigEntry(options.get(), kArenaShrinkage, arena_shrinkage_.c_str());
  return options;
}

std::vector<bool> Model::check_tensors(const ort::Session* session) const {
  ort::Allocator* const allocator = runtime_->allocator();
  const auto required =
      list(session, allocator, ort::SessionGetInputCount, ort::SessionGetInputName, ort::SessionGetInputTypeInfo);
  const auto replaceable =
      list(session, allocator, ort::SessionGetOverridableInitializerCount, ort::SessionGetOverridableInitializerName,
           ort::SessionGetOverridableInitializerTypeInfo);
  const auto outputs =
      list(session, allocator, ort::SessionGetOutputCount, ort::SessionGetOutputName, ort::SessionGetOutputTypeInfo);
  for (const Found& input : required) {
    if (find(inputs_, input.name) == nullptr) throw invalid("config.pbtxt lacks the model's input " + input.name);
  }
  std::vector<bool> scalars;
  for (const Tensor& tensor : inputs_) {
    const std::string what = "input " + tensor.name;
    const Found *const needed = find(required, tensor.name), *const known = find(replaceable, tensor.name);
    if (needed == nullptr && known == nullptr) throw invalid("the model has no " + what + ", but " + names(required));
    if (tensor.optional && needed != nullptr) throw invalid(what + ": the model needs it, so it cannot be optional");
    if (!tensor.optional && needed == nullptr) throw invalid(what + ": the model has a value of it, so it is optional");
    if (tensor.optional && batches_) throw invalid(what + ": it can be optional only where max_batch_size is 0");
    const Found& found = needed == nullptr ? *known : *needed;
    check_tensor(what, tensor, found, batches_, /*exactly=*/false);
    scalars.push_back(found.shape.empty() && !batches_);
  }
  for (const Tensor& tensor : outputs_) {
    const std::string what = "output " + tensor.name;
    const Found* const found = find(outputs, tensor.name);
    if (found == nullptr) throw invalid("the model has no " + what + ", but " + names(outputs));
    check_tensor(what, tensor, *found, batches_, /*exactly=*/true);
  }
  return scalars;
}
