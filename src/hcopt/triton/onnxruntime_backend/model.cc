#include "model.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "failure.h"

namespace {

constexpr const char* kArenaShrinkage = "memory.enable_memory_arena_shrinkage";
constexpr std::string_view kSessionPrefix = "session.";
// Keys that Triton's own backend has for GPUs, and Triton for itself: nothing to do for a backend on a CPU.
constexpr std::string_view kOthersKeys[] = {"cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy",
                                            "do_copy_in_default_stream", "TRITON_BATCH_STRATEGY_PATH"};

using Choices = std::initializer_list<std::pair<const char*, int>>;
constexpr Choices kSwitch = {{"0", 0}, {"false", 0}, {"1", 1}, {"true", 1}};

int choice(const std::string& key, std::string value, Choices choices) {
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char letter) { return std::tolower(letter); });
  std::string expected;
  for (const auto& [text, meaning] : choices) {
    if (value == text) return meaning;
    expected += (expected.empty() ? "" : ", ") + std::string(text);
  }
  throw invalid(key + " is '" + value + "'; expected one of " + expected);
}

// 0 leaves the number to ONNX Runtime.
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
  const auto refuse_if = [](bool present, const char* what) {
    if (present) throw Failure(triton::ErrorCode::kUnsupported, std::string("hcopt's onnxruntime backend does not support ") + what);
  };
  refuse_if(!config["sequence_batching"].is_null(), "sequence_batching");
  refuse_if(config["model_transaction_policy"]["decoupled"].is_true(), "a decoupled transaction policy");
  refuse_if(!config["batch_input"].items().empty() || !config["batch_output"].items().empty(),
            "batch_input and batch_output");
  for (const Json& input : config["input"].items()) {
    refuse_if(input["allow_ragged_batch"].is_true(), "allow_ragged_batch");
  }
}

std::vector<Tensor> read_tensors(const Json& list) {
  std::vector<Tensor> tensors;
  for (const Json& item : list.items()) {
    const TensorType* const type = tensor_type(item["data_type"].text());
    if (type == nullptr) {
      throw invalid(item["name"].text() + ": no backend can serve the type '" + item["data_type"].text() + "'");
    }
    const Json& reshape = item["reshape"];
    const Json& dims = reshape.is_null() ? item["dims"] : reshape["shape"];
    tensors.push_back({item["name"].text(), type, dims.integers(), item["optional"].is_true()});
  }
  return tensors;
}

std::string model_file(const std::string& folder, const Json& config) {
  const std::string& name = config["default_model_filename"].text();
  std::string file = folder + "/" + (name.empty() ? "model.onnx" : name);
  struct stat found;
  if (stat(file.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) file += "/model.onnx";
  if (stat(file.c_str(), &found) != 0) throw Failure(triton::ErrorCode::kUnavailable, "there is no file " + file);
  return file;
}

// An input or output of the model itself; `element` is ONNX Runtime's number for its type, 0 where it is no tensor.
struct Found {
  std::string name;
  int element = 0;
  std::vector<std::int64_t> shape;
};

template <typename Count, typename Name, typename Type>
std::vector<Found> list(const Runtime& runtime, const ort::Session* session, const Count& count_of,
                        const Name& name_of, const Type& type_of) {
  std::size_t count = 0;
  count_of(session, &count);
  std::vector<Found> tensors(count);
  for (std::size_t index = 0; index < count; ++index) {
    Found& tensor = tensors[index];
    char* name = nullptr;
    name_of(session, index, runtime.allocator(), &name);
    tensor.name = name;
    ort::AllocatorFree(runtime.allocator(), name);
    const auto type = ort::make<ort::TypeInfo>(type_of, session, index);
    int kind = 0;
    ort::GetOnnxTypeFromTypeInfo(type.get(), &kind);
    if (kind != ort::kTypeTensor) continue;
    const ort::TensorInfo* info = nullptr;
    ort::CastTypeInfoToTensorInfo(type.get(), &info);
    ort::GetTensorElementType(info, &tensor.element);
    std::size_t rank = 0;
    ort::GetDimensionsCount(info, &rank);
    tensor.shape.resize(rank);
    ort::GetDimensions(info, tensor.shape.data(), rank);
  }
  return tensors;
}

template <typename Type>
const Type* find(const std::vector<Type>& tensors, const std::string& name) {
  for (const Type& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

template <typename Item, typename Text>
std::string joined(const std::vector<Item>& items, const Text& text_of) {
  std::string text;
  for (const Item& item : items) text += (text.empty() ? "" : ", ") + text_of(item);
  return text;
}

std::string written(const std::vector<std::int64_t>& shape) {
  return "[" + joined(shape, [](std::int64_t dim) { return std::to_string(dim); }) + "]";
}

std::string names(const std::vector<Found>& tensors) {
  return joined(tensors, [](const Found& tensor) { return tensor.name; });
}

void check_type(const std::string& what, const Tensor& tensor, const Found& found) {
  const TensorType* const own = tensor_type(found.element);
  if (own == nullptr) throw invalid(what + ": Triton has no type for what the model has there");
  if (own != tensor.type) {
    throw invalid(what + ": " + std::string(own->name) + " in the model, " + std::string(tensor.type->name) + " here");
  }
}

// Outputs have to be named exactly as they are; an input's dynamic dimension may be narrowed down.
void check_shape(const std::string& what, const Tensor& tensor, const Found& found, bool batches, bool exactly) {
  if (found.shape.empty()) {
    // A scalar, or a shape that the model leaves open.
    const bool ones = std::all_of(tensor.dims.begin(), tensor.dims.end(), [](std::int64_t dim) { return dim == 1; });
    if (!ones) throw invalid(what + ": a scalar in the model, " + written(tensor.dims) + " here; it has to be [1]");
    return;
  }
  if (batches && found.shape[0] != -1) {
    throw invalid(what + ": max_batch_size has to be 0, the model's batch size is fixed: " + written(found.shape));
  }
  std::vector<std::int64_t> wanted = tensor.dims;
  if (batches) wanted.insert(wanted.begin(), -1);
  const auto same = [&](std::int64_t own, std::int64_t here) { return own == here || (own == -1 && !exactly); };
  if (!std::equal(found.shape.begin(), found.shape.end(), wanted.begin(), wanted.end(), same)) {
    throw invalid(what + ": " + written(found.shape) + " in the model, " + written(wanted) + " here");
  }
}

}  // namespace

Model::Model(std::shared_ptr<Runtime> runtime, const Json& config, const std::string& folder)
    : runtime_(std::move(runtime)),
      name_(config["name"].text()),
      batches_(!config["max_batch_size"].is_null() && config["max_batch_size"].integer() > 0),
      options_(ort::make<ort::SessionOptions>(ort::CreateSessionOptions)) {
  refuse_unsupported(config);
  inputs_ = read_tensors(config["input"]);
  outputs_ = read_tensors(config["output"]);
  configure(config);
  file_ = model_file(folder, config);
}

void Model::configure(const Json& config) {
  const Json& level = config["optimization"]["graph"]["level"];
  const Choices levels = {{"-1", ort::kBasic}, {"0", ort::kAll}, {"1", ort::kExtended}, {"2", ort::kDisableAll}};
  ort::SetSessionGraphOptimizationLevel(
      options_.get(), choice("optimization.graph.level", level.is_null() ? "0" : level.text(), levels));
  const Json& parameters = config["parameters"];
  for (const std::string& key : parameters.keys()) set_parameter(key, parameters[key]["string_value"].text());
  add_accelerators(config["optimization"]["execution_accelerators"]["cpu_execution_accelerator"]);
  for (const Json& library : config["model_operations"]["op_library_filename"].items()) {
    ort::RegisterCustomOpsLibrary_V2(options_.get(), library.text().c_str());
  }
}

void Model::set_parameter(const std::string& key, const std::string& value) {
  ort::SessionOptions* const options = options_.get();
  if (key == "intra_op_thread_count") {
    if (const int count = thread_count(key, value)) ort::SetIntraOpNumThreads(options, count);
  } else if (key == "inter_op_thread_count") {
    if (const int count = thread_count(key, value)) ort::SetInterOpNumThreads(options, count);
  } else if (key == "execution_mode") {
    ort::SetSessionExecutionMode(options, choice(key, value, {{"0", 0}, {"1", 1}}));
  } else if (key == "enable_mem_arena") {
    choice(key, value, kSwitch) ? ort::EnableCpuMemArena(options) : ort::DisableCpuMemArena(options);
  } else if (key == "enable_mem_pattern") {
    choice(key, value, kSwitch) ? ort::EnableMemPattern(options) : ort::DisableMemPattern(options);
  } else if (key == kArenaShrinkage) {
    arena_shrinkage_ = value;
  } else if (std::string_view(key).substr(0, kSessionPrefix.size()) == kSessionPrefix) {
    ort::AddSessionConfigEntry(options, key.c_str(), value.c_str());
    triton::log(triton::LogLevel::kWarning, name_ + ": the parameter " + key +
                                                " is given to ONNX Runtime; Triton's own backend would ignore it");
  } else if (std::find(std::begin(kOthersKeys), std::end(kOthersKeys), key) == std::end(kOthersKeys)) {
    throw invalid("the onnxruntime backend has no parameter " + key);
  }
}

void Model::add_accelerators(const Json& accelerators) {
  for (const Json& accelerator : accelerators.items()) {
    const std::string& name = accelerator["name"].text();
    if (name != "openvino") throw invalid("unknown cpu_execution_accelerator '" + name + "'; expected openvino");
    std::string precision = "f32";
    const Json& parameters = accelerator["parameters"];
    for (const std::string& key : parameters.keys()) {
      if (key != "precision") throw invalid("the accelerator openvino has no parameter " + key);
      precision = choice("precision", parameters[key].text(), {{"f32", 0}, {"bf16", 1}}) ? "bf16" : "f32";
    }
    runtime_->add_openvino(options_.get(), precision);
    with_openvino_ = true;
    triton::log(precision == "f32" ? triton::LogLevel::kInfo : triton::LogLevel::kWarning,
                name_ + ": OpenVINO computes in " + precision +
                    (precision == "f32" ? "" : ", so that answers differ from those of ONNX Runtime's own kernels"));
  }
}

ort::Owned<ort::Session> Model::open_session() const {
  // OpenVINO's provider cannot make two sessions at once.
  static std::mutex& one_at_a_time = *new std::mutex;
  std::unique_lock<std::mutex> guard(one_at_a_time, std::defer_lock);
  if (with_openvino_) guard.lock();
  ort::Owned<ort::Session> session;
  try {
    session = ort::make<ort::Session>(ort::CreateSession, runtime_->env(), file_.c_str(), options_.get());
  } catch (const Failure& failure) {
    throw Failure(failure.code, "onnxruntime cannot load " + file_ + ": " + failure.what());
  }
  check_tensors(session.get());
  return session;
}

ort::Owned<ort::RunOptions> Model::run_options() const {
  auto options = ort::make<ort::RunOptions>(ort::CreateRunOptions);
  if (!arena_shrinkage_.empty()) ort::AddRunConfigEntry(options.get(), kArenaShrinkage, arena_shrinkage_.c_str());
  return options;
}

void Model::check_tensors(const ort::Session* session) const {
  const auto required = list(*runtime_, session, ort::SessionGetInputCount, ort::SessionGetInputName, ort::SessionGetInputTypeInfo);
  const auto replaceable = list(*runtime_, session, ort::SessionGetOverridableInitializerCount,
                                ort::SessionGetOverridableInitializerName, ort::SessionGetOverridableInitializerTypeInfo);
  const auto outputs = list(*runtime_, session, ort::SessionGetOutputCount, ort::SessionGetOutputName, ort::SessionGetOutputTypeInfo);
  std::vector<Found> missing = required;
  missing.erase(std::remove_if(missing.begin(), missing.end(), [&](const Found& tensor) { return find(inputs_, tensor.name) != nullptr; }), missing.end());
  if (!missing.empty()) throw invalid("config.pbtxt lacks the model's inputs " + names(missing));
  for (const Tensor& tensor : inputs_) {
    const std::string what = "input " + tensor.name;
    const Found* found = find(required, tensor.name);
    const bool is_required = found != nullptr;
    if (!is_required) found = find(replaceable, tensor.name);
    if (found == nullptr) throw invalid("the model has no " + what + ", but " + names(required));
    if (tensor.optional && batches_) throw invalid(what + ": it can be optional only where max_batch_size is 0");
    if (tensor.optional == is_required) {
      throw invalid(what + (is_required ? ": the model has no value for it, so it cannot be optional"
                                        : ": the model has a value for it, so it has to be optional: true"));
    }
    check_type(what, tensor, *found);
    check_shape(what, tensor, *found, batches_, /*exactly=*/false);
  }
  for (const Tensor& tensor : outputs_) {
    const std::string what = "output " + tensor.name;
    const Found* const found = find(outputs, tensor.name);
    if (found == nullptr) throw invalid("the model has no " + what + ", but " + names(outputs));
    check_type(what, tensor, *found);
    check_shape(what, tensor, *found, batches_, /*exactly=*/true);
  }
}
