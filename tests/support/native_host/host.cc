// Plays the server to the backend, one scene at a time: `host SCENE LIBRARY MODELS [ARGUMENTS]`. It ends with 0 where
// all was as it has to be. Sanitizers watch.

#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <random>
#include <sstream>
#include <thread>

#include "failure.h"
#include "json.h"
#include "onnxruntime_interface.h"
#include "server.h"

using triton::Error, triton::ErrorCode, triton::Memory, triton::Request;

extern "C" {
Error* TRITONBACKEND_Initialize(triton::Backend* backend);
Error* TRITONBACKEND_Finalize(triton::Backend* backend);
Error* TRITONBACKEND_GetBackendAttribute(triton::Backend* backend, triton::BackendAttributes* attributes);
Error* TRITONBACKEND_ModelInitialize(triton::Model* model);
Error* TRITONBACKEND_ModelFinalize(triton::Model* model);
Error* TRITONBACKEND_ModelInstanceInitialize(triton::ModelInstance* instance);
Error* TRITONBACKEND_ModelInstanceFinalize(triton::ModelInstance* instance);
Error* TRITONBACKEND_ModelInstanceExecute(triton::ModelInstance* instance, Request** requests, uint32_t count);
}

namespace {

constexpr int kInt64 = 9, kFp32 = 11, kBytes = 13;

std::string library, models;
std::vector<std::string> arguments;

// What an entry point said, or nothing.
std::string said(Error* error) {
  if (error == nullptr) return "";
  const std::string message = error->message;
  delete error;
  return message;
}

bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  std::cerr << "'" << part << "' is not in '" << text << "'\n";
  return false;
}

std::string read(const std::string& file) {
  std::ifstream stream(file);
  CHECK(stream.good());
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Takes a state back; what fails there is one of Triton's calls, which a test has spoilt, and the next goes well.
template <typename Owner>
void finalize(Error* (*entry_point)(Owner*), Owner* owner) {
  if (!said(entry_point(owner)).empty()) CHECK(said(entry_point(owner)).empty());
}

// A backend, models and instances that are there as long as this is; whatever could not be made says why.
class Server {
 public:
  explicit Server(const std::string& openvino = "") {
    const std::string more = openvino.empty() ? "" : R"(", "openvino_library": ")" + openvino;
    backend.config = R"({"cmdline": {"auto-complete-config": "false", "library": ")" + library + more + R"("}})";
    error = said(TRITONBACKEND_Initialize(&backend));
    initialized_ = error.empty();
  }
  ~Server() { end(); }
  void end() {
    if (initialized_) finalize(TRITONBACKEND_Finalize, &backend);
    initialized_ = false;
  }

  triton::Backend backend;
  std::string error;

 private:
  bool initialized_ = false;
};

class Loaded {
 public:
  Loaded(Server& server, const std::string& name, int instances = 1)
      : Loaded(server, name, read(models + "/" + name + "/config.json"), instances) {}
  Loaded(Server& server, const std::string& name, const std::string& config, int count)
      : model{&server.backend, config, models + "/" + name} {
    error = said(TRITONBACKEND_ModelInitialize(&model));
    if (!error.empty()) return;
    initialized_ = true;
    for (int index = 0; index < count; ++index) instances.push_back({&model});
    // As Triton does, since the backend says that it can.
    std::vector<std::thread> threads;
    std::mutex mutex;
    for (triton::ModelInstance& instance : instances) {
      threads.emplace_back([&] {
        const std::string message = said(TRITONBACKEND_ModelInstanceInitialize(&instance));
        const std::lock_guard guard(mutex);
        if (!message.empty()) error = message;
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  ~Loaded() {
    for (triton::ModelInstance& instance : instances) {
      // Triton finalizes those alone that it has a state of.
      if (instance.state != nullptr) finalize(TRITONBACKEND_ModelInstanceFinalize, &instance);
    }
    if (initialized_) finalize(TRITONBACKEND_ModelFinalize, &model);
  }

  // Answers requests; gives what Execute said.
  std::string execute(std::vector<Request>& requests, size_t instance = 0) {
    std::vector<Request*> pointers;
    for (Request& request : requests) pointers.push_back(&request);
    return said(TRITONBACKEND_ModelInstanceExecute(&instances.at(instance), pointers.data(),
                                                   static_cast<uint32_t>(pointers.size())));
  }

  triton::Model model;
  std::vector<triton::ModelInstance> instances;
  std::string error;

 private:
  bool initialized_ = false;
};

// An input whose memory is its own.
class Tensor {
 public:
  template <typename Type>
  Tensor(int type, std::vector<int64_t> shape, const std::vector<Type>& values, size_t offset = 0)
      : type_(type), shape_(std::move(shape)), memory_(offset + values.size() * sizeof(Type)), offset_(offset) {
    if (!values.empty()) std::memcpy(memory_.data() + offset, values.data(), memory_.size() - offset);
  }

  uint64_t size() const { return memory_.size() - offset_; }
  const char* data() const { return memory_.data() + offset_; }

  // In one buffer.
  triton::Input whole(Memory memory = Memory::kCpu) const {
    return {type_, shape_, {{data(), size(), memory}}, size()};
  }
  // In buffers that end where `cuts` say.
  triton::Input in_parts(std::vector<size_t> cuts) const {
    triton::Input input{type_, shape_, {}, size()};
    cuts.push_back(size());
    size_t start = 0;
    for (const size_t cut : cuts) {
      input.buffers.push_back({data() + start, cut - start});
      start = cut;
    }
    return input;
  }

 private:
  int type_;
  std::vector<int64_t> shape_;
  std::vector<char> memory_;
  size_t offset_;
};

std::vector<char> encoded(const std::vector<std::string>& texts) {
  std::vector<char> bytes;
  for (const std::string& text : texts) {
    const auto length = static_cast<uint32_t>(text.size());
    const auto* const start = reinterpret_cast<const char*>(&length);
    bytes.insert(bytes.end(), start, start + sizeof length);
    bytes.insert(bytes.end(), text.begin(), text.end());
  }
  return bytes;
}

template <typename Type>
std::vector<Type> values(const Request& request, const std::string& output) {
  CHECK(!request.error);
  const std::vector<char>& data = request.outputs.at(output).data;
  std::vector<Type> found(data.size() / sizeof(Type));
  if (!found.empty()) std::memcpy(found.data(), data.data(), data.size());
  return found;
}

// That a request was answered once, counted once and given back.
void check_done(const Request& request) {
  CHECK(request.sent == 1);
  CHECK(request.released == 1);
  CHECK(request.counted == 1);
  CHECK(request.success == !request.error);
}

void check_all_done(const std::vector<Request>& requests) {
  for (const Request& request : requests) check_done(request);
}

// `values` [rows, 3] and `ids` [rows, 2] of the model `two_inputs`, which doubles the former and adds 1 to the latter.
struct Two {
  explicit Two(int64_t rows, float first = 1)
      : values(kFp32, {rows, 3}, std::vector<float>(static_cast<size_t>(rows) * 3, first)),
        ids(kInt64, {rows, 2}, std::vector<int64_t>(static_cast<size_t>(rows) * 2, 7)) {}
  Request request() const { return {{{"values", values.whole()}, {"ids", ids.whole()}}, {"next_ids", "scaled"}}; }

  Tensor values, ids;
};

void check_two(const Request& request, int64_t rows, float first = 1) {
  CHECK(values<float>(request, "scaled") == std::vector<float>(static_cast<size_t>(rows) * 3, 2 * first));
  CHECK(values<int64_t>(request, "next_ids") == std::vector<int64_t>(static_cast<size_t>(rows) * 2, 8));
  CHECK((request.outputs.at("scaled").shape == std::vector<int64_t>{rows, 3}));
}

// Loads two models, has each answer a batch, and unloads them: all calls that there are. Returns whether it came to an
// answer of every request.
bool whole_life() {
  bool all_well = true;
  {
    Server server;
    triton::BackendAttributes attributes;
    all_well = server.error.empty();
    if (all_well) all_well = said(TRITONBACKEND_GetBackendAttribute(&server.backend, &attributes)).empty();
    if (!server.error.empty()) return false;
    const Two one(1), two(2, 5), three(3);
    const Tensor words(kBytes, {1, 2}, encoded({"a", ""})), more(kBytes, {2, 2}, encoded({"b", "cc", "ddd", "\xff"}));
    for (const std::string name : {"two_inputs", "strings"}) {
      Loaded loaded(server, name);
      if (!loaded.error.empty()) {
        all_well = false;
        continue;
      }
      std::vector<Request> requests = {one.request(), two.request(), three.request()};
      if (name == "strings")
        requests = {{{{"input", words.whole()}}, {"output"}}, {{{"input", more.whole()}}, {"output"}}};
      const std::string refused = loaded.execute(requests);
      for (const Request& request : requests) {
        // Either Triton still has the requests, or each was answered and given back.
        CHECK(request.released == (refused.empty() ? 1 : 0));
        CHECK(request.sent == (refused.empty() ? 1 : 0));
        all_well = all_well && refused.empty() && !request.error;
      }
      if (!refused.empty() || requests[0].error) continue;
      if (name == "two_inputs") check_two(requests[0], 1);
      if (name == "strings") CHECK(requests[0].outputs.at("output").data == encoded({"a", ""}));
    }
  }
  return all_well;
}

// A failure of each call of Triton's functions in turn.
void each_call_fails() {
  fail_at(0);
  CHECK(whole_life());
  const int count = calls;
  CHECK(count > 100);
  int harmless = 0;
  for (int call = 1; call <= count; ++call) {
    fail_at(call);
    harmless += whole_life();
    CHECK(!failed_function.empty());
  }
  // What only goes into the log: statistics, releases, sends, log lines.
  CHECK(0 < harmless && harmless < count / 3);
  fail_at(0);
  CHECK(whole_life());
}

const ort::AnyFunction* real_table;
ort::Status* fail_in_onnxruntime() {
  return reinterpret_cast<ort::Status* (*)(int, const char*)>(real_table[0])(1, "injected into ONNX Runtime");
}

// A failure of each of ONNX Runtime's functions in turn; their places are the arguments.
void each_function_of_onnxruntime_fails() {
  Server server;
  CHECK(server.error.empty());
  real_table = ort::table;
  int harmful = 0;
  for (const std::string& argument : arguments) {
    std::vector<ort::AnyFunction> faulty(real_table, real_table + 317);
    faulty.at(std::stoul(argument)) = reinterpret_cast<ort::AnyFunction>(&fail_in_onnxruntime);
    ort::table = faulty.data();
    for (const std::string name : {"two_inputs", "strings", "settings"}) {
      Loaded loaded(server, name);
      if (!loaded.error.empty()) {
        CHECK(has(loaded.error, "injected into ONNX Runtime"));
        ++harmful;
        continue;
      }
      if (name == "settings") continue;
      const Two one(1), two(2);
      const Tensor words(kBytes, {1, 2}, encoded({"a", "b"}));
      std::vector<Request> requests = {one.request(), two.request()};
      if (name == "strings") requests = {{{{"input", words.whole()}}, {"output"}}};
      CHECK(loaded.execute(requests).empty());
      check_all_done(requests);
      for (const Request& request : requests) {
        if (!request.error) continue;
        CHECK(has(request.error->message, "onnxruntime: injected into ONNX Runtime"));
        ++harmful;
      }
    }
    ort::table = real_table;
  }
  // Nearly all of them are needed by one of the models.
  CHECK(harmful >= static_cast<int>(arguments.size()) * 3 / 4);
}

const void* given_to_onnxruntime;
ort::Status* remember_data(const ort::MemoryInfo* info, void* data, size_t size, const int64_t* shape, size_t rank,
                           int type, ort::Value** value) {
  given_to_onnxruntime = data;
  using Create = ort::Status* (*)(const ort::MemoryInfo*, void*, size_t, const int64_t*, size_t, int, ort::Value**);
  return reinterpret_cast<Create>(real_table[49])(info, data, size, shape, rank, type, value);
}

// Inputs are used where they are wherever that is possible, and copied where they lie badly.
void inputs_lie_anywhere() {
  Server server;
  real_table = ort::table;
  std::vector<ort::AnyFunction> table(real_table, real_table + 317);
  table[49] = reinterpret_cast<ort::AnyFunction>(&remember_data);
  ort::table = table.data();
  Loaded loaded(server, "identity");
  CHECK(loaded.error.empty());
  const std::vector<float> numbers = {1, 2, 3, 4, 5, 6, 7, 8};
  const Tensor aligned(kFp32, {2, 4}, numbers), odd(kFp32, {2, 4}, numbers, 1);
  const auto answer = [&](const std::vector<triton::Input>& inputs) {
    std::vector<Request> requests;
    for (const triton::Input& input : inputs) requests.push_back({{{"input", input}}, {"output"}});
    CHECK(loaded.execute(requests).empty());
    check_all_done(requests);
    for (const Request& request : requests) CHECK(values<float>(request, "output") == numbers);
  };
  answer({aligned.whole()});
  CHECK(given_to_onnxruntime == aligned.data());
  answer({aligned.whole(Memory::kPinned)});
  CHECK(given_to_onnxruntime == aligned.data());
  answer({aligned.in_parts({0, 4, 5, 5, 17})});  // in several buffers, but one behind the other
  CHECK(given_to_onnxruntime == aligned.data());
  answer({odd.whole()});
  CHECK(given_to_onnxruntime != odd.data());
  answer({aligned.whole(), odd.in_parts({3, 9}), aligned.in_parts({16})});
  triton::Input scattered = aligned.in_parts({16});
  const std::vector<char> elsewhere(aligned.data() + 16, aligned.data() + 32);
  scattered.buffers[1].data = elsewhere.data();
  answer({scattered});
  CHECK(given_to_onnxruntime != aligned.data());
  // Requests whose rows follow one another in memory, as a client's shared memory may have them.
  const std::vector<float> twice = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};
  const Tensor both(kFp32, {4, 4}, twice);
  triton::Input first = aligned.whole(), second = aligned.whole();
  first.buffers[0].data = both.data();
  second.buffers[0].data = both.data() + 32;
  answer({first, second});
  CHECK(given_to_onnxruntime == both.data());
  // No row at all, and nowhere.
  std::vector<Request> empty(2, Request{{{"input", {kFp32, {0, 4}, {{nullptr, 0}}, 0}}}, {"output"}});
  empty[1].inputs["input"].buffers.clear();
  CHECK(loaded.execute(empty).empty());
  check_all_done(empty);
  for (const Request& request : empty) CHECK(!request.error && request.outputs.at("output").shape[0] == 0);
  ort::table = real_table;
}

void memory_of_gpus_is_refused() {
  Server server;
  Loaded loaded(server, "two_inputs");
  const Two one(1), two(2);
  std::vector<Request> requests = {one.request(), two.request(), one.request()};
  requests[1].inputs["ids"] = two.ids.whole(Memory::kGpu);
  requests[2].output_memory = Memory::kGpu;
  CHECK(loaded.execute(requests).empty());
  check_all_done(requests);
  check_two(requests[0], 1);
  CHECK(requests[1].error->code == ErrorCode::kUnsupported);
  CHECK(has(requests[1].error->message, "does not support the input ids in a GPU's memory"));
  CHECK(has(requests[2].error->message, "does not support the output scaled in a GPU's memory"));
  CHECK((loaded.instances[0].batches == std::vector<uint64_t>{4}));
}

// One request is bad in each way that there is; it alone has an error.
void bad_requests_are_answered_by_themselves() {
  Server server;
  Loaded loaded(server, "two_inputs");
  const Two good(2);
  const std::vector<std::pair<std::string, std::function<void(Request&)>>> ways = {
      {"no input ids", [](Request& bad) { bad.inputs.erase("ids"); }},
      {"the input ids is not of TYPE_INT64", [](Request& bad) { bad.inputs["ids"].type = kFp32; }},
      {"the input ids has not the size of its shape", [](Request& bad) { bad.inputs["ids"].byte_size -= 1; }},
      {"the input ids has not the size of its shape", [](Request& bad) { bad.inputs["ids"].shape = {2, 3}; }},
      {"the input ids is not whole", [](Request& bad) { bad.inputs["ids"].buffers[0].size -= 8; }},
      {"the input ids is not whole", [](Request& bad) { bad.inputs["ids"].buffers.clear(); }},
      {"inputs of different batches", [](Request& bad) { bad.inputs["ids"].shape = {4, 1}; }},
      {"inputs of different batches",
       [](Request& bad) { bad.inputs["ids"].shape.clear(), bad.inputs["ids"].byte_size = 8; }},
      {"no shape", [](Request& bad) { bad.inputs["ids"].shape = {int64_t{1} << 40, int64_t{1} << 40}; }},
      {"no shape", [](Request& bad) { bad.inputs["ids"].shape = {2, -2}; }},
      {"Got invalid dimensions for input: ids",
       [](Request& bad) {
         bad.inputs["ids"].shape = {2, 1};
         bad.inputs["ids"].byte_size = bad.inputs["ids"].buffers[0].size = 16;
       }},
  };
  for (const auto& [message, spoil] : ways) {
    std::vector<Request> requests = {good.request(), good.request(), good.request()};
    spoil(requests[1]);
    CHECK(loaded.execute(requests).empty());
    check_all_done(requests);
    check_two(requests[0], 2);
    check_two(requests[2], 2);
    CHECK(requests[1].error && has(requests[1].error->message, message));
  }
  // All of them: nothing ran, so no batch is counted.
  loaded.instances[0].batches.clear();
  std::vector<Request> requests = {good.request(), good.request()};
  for (Request& request : requests) request.inputs.clear();
  CHECK(loaded.execute(requests).empty());
  check_all_done(requests);
  CHECK(requests[0].error && requests[1].error && loaded.instances[0].batches.empty());
}

void bad_strings_are_answered_by_themselves() {
  Server server;
  Loaded loaded(server, "strings");
  const std::string text = std::string("nul\0 and ", 9) + "\xff\xfe";
  const Tensor good(kBytes, {1, 2}, encoded({text, ""}));
  std::vector<char> endless = encoded({"a", "b"});
  endless[0] = endless[1] = endless[2] = endless[3] = '\xff';
  const std::vector<std::pair<std::string, std::vector<char>>> ways = {
      {"ends within a string", encoded({"only one"})},
      {"ends within a string", endless},
      {"has not the size of its shape", {}},
      {"has not the size of its shape", {1, 0, 0}},
      {"ends within a string", {1, 0, 0, 0, 'a', 1, 0, 0}},
      {"more strings than its shape says", encoded({"one", "two", "three"})},
  };
  for (const auto& [message, bytes] : ways) {
    const Tensor bad(kBytes, {1, 2}, bytes);
    std::vector<Request> requests;
    for (const triton::Input& input : {good.whole(), bad.whole(), good.in_parts({2, 4, 7})}) {
      requests.push_back({{{"input", input}}, {"output"}});
    }
    CHECK(loaded.execute(requests).empty());
    check_all_done(requests);
    for (const size_t index : {0, 2}) CHECK(requests[index].outputs.at("output").data == encoded({text, ""}));
    CHECK(requests[1].error && has(requests[1].error->message, message));
  }
  // A shape of so many strings that no memory would hold them.
  std::vector<Request> huge(1, Request{{{"input", good.whole()}}, {"output"}});
  huge[0].inputs["input"].shape = {1, int64_t{1} << 50};
  CHECK(loaded.execute(huge).empty());
  CHECK(huge[0].error && has(huge[0].error->message, "has not the size of its shape"));
  const Tensor none(kBytes, {1, 0}, std::vector<char>{});
  std::vector<Request> requests(1, Request{{{"input", none.whole()}}, {"output"}});
  CHECK(loaded.execute(requests).empty());
  CHECK(!requests[0].error && requests[0].outputs.at("output").data.empty());
}

// What cannot stand one behind the other runs one by one, and still counts as one batch.
void different_shapes_share_a_batch() {
  Server server;
  Loaded loaded(server, "embedding");
  std::vector<Tensor> tensors;
  for (const int64_t tokens : {2, 5, 2})
    tensors.emplace_back(kInt64, std::vector<int64_t>{1, tokens}, std::vector<int64_t>(static_cast<size_t>(tokens), 3));
  tensors.emplace_back(kInt64, std::vector<int64_t>{1, 1, 2}, std::vector<int64_t>{3, 3});
  std::vector<Request> requests;
  for (const Tensor& tensor : tensors) requests.push_back({{{"ids", tensor.whole()}}, {"vectors"}});
  CHECK(loaded.execute(requests).empty());
  check_all_done(requests);
  CHECK((requests[1].outputs.at("vectors").shape == std::vector<int64_t>{1, 5, 2}));
  CHECK((values<float>(requests[2], "vectors") == std::vector<float>{6, 7, 6, 7}));
  CHECK(requests[3].error && has(requests[3].error->message, "Invalid rank for input"));
  CHECK((loaded.instances[0].batches == std::vector<uint64_t>{4}));
}

void optional_inputs_may_be_missing() {
  Server server;
  Loaded loaded(server, "optional");
  const Tensor input(kFp32, {1, 2}, std::vector<float>{1, 2}), weight(kFp32, {2, 1}, std::vector<float>{10, 100});
  std::vector<Request> requests;
  requests.push_back({{{"input", input.whole()}}, {"output"}});
  requests.push_back({{{"input", input.whole()}, {"weight", weight.whole()}}, {"output"}});
  requests.push_back({{{"weight", weight.whole()}}, {"output"}});
  CHECK(loaded.execute(requests).empty());
  check_all_done(requests);
  CHECK(values<float>(requests[0], "output") != values<float>(requests[1], "output"));
  CHECK(requests[2].error && has(requests[2].error->message, "no input input"));
}

void server_that_does_not_fit_is_refused() {
  for (const auto& [major, minor] : std::vector<std::pair<uint32_t, uint32_t>>{{1, 15}, {2, 0}, {0, 99}}) {
    api_major = major, api_minor = minor;
    const Server server;
    CHECK(has(server.error, "a server of the backend API " + std::to_string(major) + "." + std::to_string(minor)));
  }
  api_major = 1, api_minor = 16;
  Server server;
  CHECK(server.error.empty());
  CHECK(has(logged, "hcopt's native onnxruntime backend, over ONNX Runtime"));
  triton::BackendAttributes attributes;
  CHECK(said(TRITONBACKEND_GetBackendAttribute(&server.backend, &attributes)).empty());
  CHECK(attributes.kind == triton::InstanceKind::kCpu && attributes.loads_in_parallel);
  CHECK(has(Loaded(server, "identity", "{", 1).error, "no JSON at byte 1"));
  artifact = static_cast<triton::Artifact>(1);
  CHECK(has(Loaded(server, "identity").error, "models that are not in a folder"));
  artifact = triton::Artifact::kFilesystem;
  Loaded loaded(server, "identity");
  for (const auto kind : {triton::InstanceKind::kAuto, triton::InstanceKind::kGpu, triton::InstanceKind::kModel}) {
    triton::ModelInstance instance{&loaded.model, kind};
    CHECK(has(said(TRITONBACKEND_ModelInstanceInitialize(&instance)), "another kind than KIND_CPU"));
  }
}

// The library is no ONNX Runtime, or one without the interface that is needed; the argument is what it has to say.
void library_is_refused() {
  const Server server;
  CHECK(has(server.error, arguments.at(0)));
}

// What OpenVINO's plugin is told, by functions in the place of ONNX Runtime's: the plugin finds CPUs of Intel alone.
namespace openvino {

int registered;
std::string library_path, options;
const int here = 0;
const ort::EpDevice* const devices[] = {nullptr, reinterpret_cast<const ort::EpDevice*>(&here)};

ort::Status* register_library(ort::Env*, const char*, const char* path) {
  ++registered;
  library_path = path;
  return nullptr;
}

ort::Status* get_devices(const ort::Env*, const ort::EpDevice* const** found, size_t* count) {
  *found = devices;
  *count = std::size(devices);
  return nullptr;
}

ort::Status* append(ort::SessionOptions*, ort::Env*, const ort::EpDevice* const* chosen, size_t count,
                    const char* const* keys, const char* const* texts, size_t option_count) {
  CHECK(count == 1 && chosen[0] == devices[1] && option_count == 1);
  options = std::string(keys[0]) + "=" + texts[0];
  return nullptr;
}

int type(const ort::HardwareDevice*) { return 0; }
const char* name(const ort::EpDevice* device) {
  return device == nullptr ? "CPUExecutionProvider" : "OpenVINOExecutionProvider";
}
const ort::HardwareDevice* hardware(const ort::EpDevice*) { return nullptr; }

}  // namespace openvino

void openvino_is_told_its_precision_and_threads() {
  {
    Server server("/no/such/plugin.so");
    CHECK(has(Loaded(server, "openvino").error, "/no/such/plugin.so"));
  }
  Server server("/a/plugin.so");
  real_table = ort::table;
  std::vector<ort::AnyFunction> table(real_table, real_table + 317);
  table[301] = reinterpret_cast<ort::AnyFunction>(&openvino::register_library);
  table[303] = reinterpret_cast<ort::AnyFunction>(&openvino::get_devices);
  table[304] = reinterpret_cast<ort::AnyFunction>(&openvino::append);
  table[307] = reinterpret_cast<ort::AnyFunction>(&openvino::type);
  table[312] = reinterpret_cast<ort::AnyFunction>(&openvino::name);
  table[316] = reinterpret_cast<ort::AnyFunction>(&openvino::hardware);
  ort::table = table.data();
  CHECK(Loaded(server, "openvino").error.empty());
  CHECK(openvino::options == R"(load_config={"CPU": {"INFERENCE_NUM_THREADS": "0", "INFERENCE_PRECISION_HINT": "f32"}})");
  CHECK(has(logged, "openvino: OpenVINO computes in f32\n"));
  CHECK(Loaded(server, "openvino_bf16", 3).error.empty());
  CHECK(openvino::options == R"(load_config={"CPU": {"INFERENCE_NUM_THREADS": "3", "INFERENCE_PRECISION_HINT": "bf16"}})");
  CHECK(has(logged, "openvino_bf16: OpenVINO computes in bf16, which changes the model's answers"));
  CHECK(openvino::registered == 1 && openvino::library_path == "/a/plugin.so");
  ort::table = real_table;
}

// Models come and go while others answer in threads of their own.
void models_come_and_go() {
  Server server;
  std::atomic<bool> stop{false};
  {
    Loaded numbers(server, "two_inputs", 3), words(server, "strings", 2);
    CHECK(numbers.error.empty() && words.error.empty());
    std::vector<std::thread> threads;
    for (size_t instance = 0; instance < 3; ++instance) {
      threads.emplace_back([&, instance] {
        const auto first = static_cast<float>(instance);
        const Two one(1, first), two(2, first);
        while (!stop) {
          std::vector<Request> requests = {one.request(), two.request()};
          CHECK(numbers.execute(requests, instance).empty());
          check_two(requests[0], 1, first);
          check_two(requests[1], 2, first);
        }
      });
    }
    for (size_t instance = 0; instance < 2; ++instance) {
      threads.emplace_back([&, instance] {
        const Tensor tensor(kBytes, {1, 2}, encoded({"some", std::string(instance, 'x')}));
        while (!stop) {
          std::vector<Request> requests(2, Request{{{"input", tensor.whole()}}, {"output"}});
          CHECK(words.execute(requests, instance).empty());
          for (const Request& request : requests) {
            CHECK(request.outputs.at("output").data == encoded({"some", std::string(instance, 'x')}));
          }
        }
      });
    }
    for (int time = 0; time < 10; ++time) {
      Loaded other(server, "two_inputs", 2);
      CHECK(other.error.empty());
      const Two one(1);
      std::vector<Request> requests = {one.request()};
      CHECK(other.execute(requests, 1).empty());
      check_two(requests[0], 1);
      CHECK(!Loaded(server, "identity", "{}", 1).error.empty());
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
  }
}

// A model that outlives the backend's own end, as it does where a server's time to exit is up.
void models_outlive_the_backend() {
  Server server;
  Loaded loaded(server, "two_inputs");
  server.end();
  const Two one(1);
  std::vector<Request> requests = {one.request()};
  CHECK(loaded.execute(requests).empty());
  check_two(requests[0], 1);
}

void write_json(const Json& value, std::ostream& out) {
  const auto quoted = [&](const std::string& text) {
    out << '"';
    for (const unsigned char letter : text) {
      char code[8];
      std::snprintf(code, sizeof code, "\\x%02x", letter);
      out << code;
    }
    out << '"';
  };
  using Kind = Json::Kind;
  if (value.kind == Kind::kNull) out << "null";
  if (value.kind == Kind::kTrue) out << "true";
  if (value.kind == Kind::kFalse) out << "false";
  if (value.kind == Kind::kNumber) out << value.text;
  if (value.kind == Kind::kString) quoted(value.text);
  if (value.kind != Kind::kArray && value.kind != Kind::kObject) return;
  out << (value.kind == Kind::kArray ? '[' : '{');
  for (size_t index = 0; index < value.items.size(); ++index) {
    if (index > 0) out << ',';
    if (value.kind == Kind::kObject) {
      quoted(value.keys.at(index));
      out << ':';
    }
    write_json(value.items[index], out);
  }
  out << (value.kind == Kind::kArray ? ']' : '}');
}

// Reads a text from each line of the file, whose bytes are in hexadecimal, and writes what it found, strings byte by
// byte.
void json_is_read() {
  std::ifstream lines(arguments.at(0));
  for (std::string line; std::getline(lines, line);) {
    std::string text;
    for (size_t at = 0; at + 1 < line.size(); at += 2)
      text += static_cast<char>(std::stoi(line.substr(at, 2), nullptr, 16));
    std::ostringstream out;
    try {
      write_json(Json::parse(text), out);
      std::cout << out.str() << "\n";
    } catch (const Failure& failure) {
      std::cout << "refused: " << failure.what() << "\n";
    }
  }
}

// Reads mutations of a file; whatever they are, they are read or refused.
void json_is_fuzzed() {
  const std::string seed_text = read(arguments.at(0));
  std::mt19937 random(static_cast<uint32_t>(std::stoul(arguments.at(1))));
  const int rounds = std::stoi(arguments.at(2));
  constexpr std::string_view pieces[] = {
      "{", "}", "[",  "]", "\"",   "\\",  "\\u",  "\\ud83d", "\\ude00", ":",
      ",", "-", "1e", "0", "null", "tru", "\x01", "\x80",    " ",       "9999999999999999999"};
  int read_well = 0;
  std::string text = seed_text;
  for (int round = 0; round < rounds; ++round) {
    if (random() % 20 == 0) text = seed_text;
    const size_t at = text.empty() ? 0 : random() % text.size();
    switch (random() % 5) {
      case 0:
        text.insert(at, pieces[random() % std::size(pieces)]);
        break;
      case 1:
        text.erase(at, random() % 9);
        break;
      case 2:
        if (!text.empty()) text[at] = static_cast<char>(random());
        break;
      case 3:
        text.resize(at);
        break;
      default:
        text.insert(at, text.substr(random() % (text.size() + 1), random() % 40));
        break;
    }
    // In memory of its own size, so that a byte too far is noticed.
    const std::vector<char> exact(text.begin(), text.end());
    try {
      const Json value = Json::parse({exact.data(), exact.size()});
      read_well += !value.is_null();
      value["input"].integers();
      value["max_batch_size"].integer();
    } catch (const Failure&) {
    }
  }
  CHECK(read_well > 0);
  std::cout << read_well << " of " << rounds << " could be read\n";
}

const std::map<std::string, void (*)()> kScenes = {
    {"each_call_fails", each_call_fails},
    {"each_function_of_onnxruntime_fails", each_function_of_onnxruntime_fails},
    {"inputs_lie_anywhere", inputs_lie_anywhere},
    {"memory_of_gpus_is_refused", memory_of_gpus_is_refused},
    {"bad_requests_are_answered_by_themselves", bad_requests_are_answered_by_themselves},
    {"bad_strings_are_answered_by_themselves", bad_strings_are_answered_by_themselves},
    {"different_shapes_share_a_batch", different_shapes_share_a_batch},
    {"optional_inputs_may_be_missing", optional_inputs_may_be_missing},
    {"server_that_does_not_fit_is_refused", server_that_does_not_fit_is_refused},
    {"library_is_refused", library_is_refused},
    {"openvino_is_told_its_precision_and_threads", openvino_is_told_its_precision_and_threads},
    {"models_come_and_go", models_come_and_go},
    {"models_outlive_the_backend", models_outlive_the_backend},
    {"json_is_read", json_is_read},
    {"json_is_fuzzed", json_is_fuzzed},
};

}  // namespace

int main(int count, char** texts) {
  CHECK(count >= 4);
  library = texts[2];
  models = texts[3];
  arguments.assign(texts + 4, texts + count);
  kScenes.at(texts[1])();
  return 0;
}
