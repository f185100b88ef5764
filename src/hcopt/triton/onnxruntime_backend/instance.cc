#include "instance.h"

#include <malloc.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <tuple>

#include "failure.h"

namespace {

// An input of a request as Triton has it.
struct Piece {
  triton::Input* input = nullptr;  // null for an optional one that the request lacks
  const int64_t* shape = nullptr;
  uint32_t rank = 0, buffer_count = 0;
  uint64_t byte_size = 0;
};

// A request on its way to its answer.
struct Job {
  triton::Request* request = nullptr;
  triton::Response* response = nullptr;
  uint64_t rows = 1;
  std::vector<Piece> pieces;  // for each of the model's inputs
  std::vector<bool> wants;    // for each of its outputs
  std::optional<Failure> failure;
};
using Jobs = std::vector<Job*>;

// An output of a run, for all of its requests.
struct Produced {
  ort::Owned<ort::Value> value;  // null where no request wants it
  std::vector<int64_t> shape;
  uint64_t row_elements = 0;
  const char* data = nullptr;
  std::string texts;            // of strings: one behind the other
  std::vector<size_t> offsets;  // of strings: where each begins, and the end of the last
};

// A part of an input, in Triton's memory.
struct Span {
  const char* data;
  size_t size;
};

uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

uint64_t product(const int64_t* dims, size_t rank, uint64_t start = 1) {
  for (const int64_t* dim = dims; dim != dims + rank; ++dim) {
    if (*dim < 0 || __builtin_mul_overflow(start, static_cast<uint64_t>(*dim), &start)) throw invalid("no shape");
  }
  return start;
}

// Runs what may fail; the failure is then the job's.
template <typename Action>
void guarded(Job& job, const Action& action) {
  try {
    action();
  } catch (const Failure& failure) {
    job.failure = Failure(failure.code, std::string("onnxruntime: ") + failure.what());
  } catch (const std::exception& error) {
    job.failure = Failure(triton::ErrorCode::kInternal, std::string("onnxruntime: ") + error.what());
  }
}

// Whether the inputs of all jobs can stand one behind the other.
bool fit_together(const Jobs& jobs) {
  const auto same_rows = [](const Piece& one, const Piece& other) {
    if (one.input == nullptr || other.input == nullptr) return one.input == other.input;
    return one.rank == other.rank && std::equal(one.shape + 1, one.shape + one.rank, other.shape + 1);
  };
  const std::vector<Piece>& first = jobs.front()->pieces;
  return std::all_of(jobs.begin(), jobs.end(), [&](const Job* job) {
    return std::equal(first.begin(), first.end(), job->pieces.begin(), same_rows);
  });
}

// Triton's strings: four bytes of length, then the text, one behind the other. Returns where the next begins.
const char* read_strings(const Tensor& tensor, const Piece& piece, const char* data, ort::Value* value, size_t& index) {
  uint64_t left = piece.byte_size;
  const auto take = [&](uint64_t size) {
    if (left < size) throw invalid("the input " + tensor.name + " ends within a string");
    left -= size;
    data += size;
    return data - size;
  };
  for (uint64_t count = product(piece.shape, piece.rank); count > 0; --count) {
    uint32_t length = 0;
    memcpy(&length, take(sizeof length), sizeof length);
    const char* const from = take(length);
    char* to = nullptr;
    ort::GetResizedStringTensorElementBuffer(value, index++, length, &to);
    if (length > 0) memcpy(to, from, length);
  }
  if (left > 0) throw invalid("the input " + tensor.name + " has more strings than its shape says");
  return data;
}

void write_strings(const Produced& produced, uint64_t first, uint64_t count, char* to) {
  for (uint64_t index = first; index < first + count; ++index) {
    const size_t start = produced.offsets[index];
    const auto length = static_cast<uint32_t>(produced.offsets[index + 1] - start);
    memcpy(to, &length, sizeof length);
    memcpy(to + sizeof length, produced.texts.data() + start, length);
    to += sizeof length + length;
  }
}

class SessionInstance final : public Instance {
 public:
  // A session for each instance, since production has it so: another number of instances is another number of threads.
  SessionInstance(const Model& model, triton::ModelInstance* self)
      : model_(model), self_(self), run_options_(model.run_options()), scratch_(model.inputs().size()) {
    std::tie(session_, scalars_) = model.open_session();
  }

  ~SessionInstance() override {
    session_.reset();
    malloc_trim(0);  // or the C library keeps the memory of the weights
  }

  void execute(triton::Request** requests, uint32_t count) override {
    start_ = now_ns();
    compute_start_ = 0;
    jobs_ = std::vector<Job>(count);
    Jobs good;
    good.reserve(count);
    for (uint32_t index = 0; index < count; ++index) {
      jobs_[index].request = requests[index];
      guarded(jobs_[index], [&] { read(jobs_[index]); });
      if (!jobs_[index].failure) good.push_back(&jobs_[index]);
    }
    answer_all(good);
    if (compute_start_ == 0) compute_start_ = compute_end_ = now_ns();
    finish();
  }

 private:
  void read(Job& job) const {
    const auto& inputs = model_.inputs();
    job.pieces.resize(inputs.size());
    for (size_t index = 0; index < inputs.size(); ++index) read_input(job, inputs[index], job.pieces[index]);
    if (model_.batches()) {
      for (const Piece& piece : job.pieces) {
        if (piece.rank == 0 || piece.shape[0] != job.pieces[0].shape[0]) throw invalid("inputs of different batches");
      }
      job.rows = static_cast<uint64_t>(job.pieces.at(0).shape[0]);
    }
    const auto& outputs = model_.outputs();
    job.wants.resize(outputs.size());
    uint32_t count = 0;
    check(TRITONBACKEND_RequestOutputCount(job.request, &count));
    for (uint32_t number = 0; number < count; ++number) {
      const char* name = nullptr;
      check(TRITONBACKEND_RequestOutputName(job.request, number, &name));
      for (size_t index = 0; index < outputs.size(); ++index) {
        if (outputs[index].name == name) job.wants[index] = true;
      }
    }
  }

  static void read_input(const Job& job, const Tensor& tensor, Piece& piece) {
    triton::Error* const absent = TRITONBACKEND_RequestInput(job.request, tensor.name.c_str(), &piece.input);
    if (absent != nullptr && tensor.optional) {
      piece.input = nullptr;
      return TRITONSERVER_ErrorDelete(absent);
    }
    check(absent);
    triton::DataType type = 0;
    check(TRITONBACKEND_InputProperties(piece.input, nullptr, &type, &piece.shape, &piece.rank, &piece.byte_size,
                                        &piece.buffer_count));
    if (type != tensor.type->triton) throw invalid("the input " + tensor.name + " is not of " + tensor.type->name);
    // Strings have their lengths before them at the least: no shape may ask for more memory than a client has sent.
    const uint64_t least = product(piece.shape, piece.rank, tensor.is_text() ? sizeof(uint32_t) : tensor.type->size);
    if (piece.byte_size < least || (piece.byte_size > least && !tensor.is_text())) {
      throw invalid("the input " + tensor.name + " has not the size of its shape");
    }
  }

  void answer_all(const Jobs& jobs) {
    if (jobs.size() > 1 && model_.batches() && fit_together(jobs)) {
      try {
        return answer(jobs);
      } catch (const std::exception&) {
        // One of them is bad, or all are too much at once: that must not harm the others.
      }
    }
    for (Job* const job : jobs) guarded(*job, [&] { answer({job}); });
  }

  // Throws before the first response exists: nothing could replace one that has outputs.
  void answer(const Jobs& jobs) {
    const std::vector<Produced> outputs = run(jobs);
    uint64_t first_row = 0;
    for (Job* const job : jobs) {
      guarded(*job, [&] { respond(*job, first_row, outputs); });
      first_row += job->rows;
    }
  }

  std::vector<Produced> run(const Jobs& jobs) {
    uint64_t rows = 0;
    for (const Job* const job : jobs) rows += job->rows;
    std::vector<ort::Owned<ort::Value>> inputs;
    std::vector<const ort::Value*> given;
    std::vector<const char*> input_names, output_names;
    for (size_t index = 0; index < model_.inputs().size(); ++index) {
      if (jobs[0]->pieces[index].input == nullptr) continue;
      inputs.push_back(gather(index, jobs, rows));
      given.push_back(inputs.back().get());
      input_names.push_back(model_.inputs()[index].name.c_str());
    }
    std::vector<size_t> wanted;
    for (size_t index = 0; index < model_.outputs().size(); ++index) {
      if (std::none_of(jobs.begin(), jobs.end(), [&](const Job* job) { return job->wants[index]; })) continue;
      wanted.push_back(index);
      output_names.push_back(model_.outputs()[index].name.c_str());
    }
    std::vector<Produced> outputs(model_.outputs().size());
    std::vector<ort::Value*> values(wanted.size());
    if (compute_start_ == 0) compute_start_ = compute_end_ = now_ns();
    ort::Run(session_.get(), run_options_.get(), input_names.data(), given.data(), given.size(), output_names.data(),
             wanted.size(), values.data());
    compute_end_ = now_ns();
    for (size_t index = 0; index < wanted.size(); ++index) outputs[wanted[index]].value.reset(values[index]);
    for (const size_t index : wanted) inspect(model_.outputs()[index], rows, outputs[index]);
    return outputs;
  }

  // The value of an input for all jobs; without a copy where Triton has it in one place.
  ort::Owned<ort::Value> gather(size_t index, const Jobs& jobs, uint64_t rows) {
    const Tensor& tensor = model_.inputs()[index];
    spans_.clear();
    for (const Job* const job : jobs) add_spans(tensor, job->pieces[index]);
    const auto [data, size] = joined(tensor, scratch_[index]);
    const Piece& first = jobs[0]->pieces[index];
    std::vector<int64_t> shape(first.shape, first.shape + (scalars_[index] ? 0 : first.rank));
    if (model_.batches()) shape[0] = static_cast<int64_t>(rows);
    const int type = tensor.type->onnxruntime;
    if (!tensor.is_text()) {
      return ort::make<ort::Value>(ort::CreateTensorWithDataAsOrtValue, model_.runtime().cpu(), const_cast<char*>(data),
                                   size, shape.data(), shape.size(), type);
    }
    auto value = ort::make<ort::Value>(ort::CreateTensorAsOrtValue, model_.runtime().allocator(), shape.data(),
                                       shape.size(), type);
    const char* at = data;
    size_t element = 0;
    for (const Job* const job : jobs) at = read_strings(tensor, job->pieces[index], at, value.get(), element);
    return value;
  }

  void add_spans(const Tensor& tensor, const Piece& piece) {
    uint64_t found = 0;
    for (uint32_t number = 0; number < piece.buffer_count; ++number) {
      const void* data = nullptr;
      uint64_t size = 0;
      triton::Memory memory = triton::Memory::kCpu;
      int64_t memory_id = 0;
      check(TRITONBACKEND_InputBuffer(piece.input, number, &data, &size, &memory, &memory_id));
      if (memory == triton::Memory::kGpu) throw unsupported("the input " + tensor.name + " in a GPU's memory");
      if (size > 0) spans_.push_back({static_cast<const char*>(data), size});
      found += size;
    }
    if (found != piece.byte_size) throw invalid("the input " + tensor.name + " is not whole");
  }

  // The spans as one: where they are, if they follow one another there and elements lie as they have to, or a copy.
  Span joined(const Tensor& tensor, std::vector<char>& scratch) const {
    const char* end = spans_.empty() ? nullptr : spans_[0].data;
    bool is_whole = end != nullptr && (tensor.is_text() || reinterpret_cast<uintptr_t>(end) % tensor.type->size == 0);
    size_t size = 0;
    for (const Span& span : spans_) {
      is_whole = is_whole && span.data == end;
      end = span.data + span.size;
      size += span.size;
    }
    if (is_whole) return {spans_[0].data, size};
    if (scratch.size() < size + 1) scratch.resize(size + 1);  // never empty, since ONNX Runtime wants a place
    char* to = scratch.data();
    for (const Span& span : spans_) to = std::copy_n(span.data, span.size, to);
    return {scratch.data(), size};
  }

  void inspect(const Tensor& tensor, uint64_t rows, Produced& produced) const {
    const auto info = ort::make<ort::TensorInfo>(ort::GetTensorTypeAndShape, produced.value.get());
    int type = 0;
    size_t rank = 0;
    ort::GetTensorElementType(info.get(), &type);
    ort::GetDimensionsCount(info.get(), &rank);
    std::vector<int64_t>& shape = produced.shape;
    shape.resize(rank);
    ort::GetDimensions(info.get(), shape.data(), rank);
    const std::string what = "the output " + tensor.name;
    if (type != tensor.type->onnxruntime) throw invalid(what + " is not of " + tensor.type->name);
    if (model_.batches() && (rank == 0 || static_cast<uint64_t>(shape[0]) != rows)) {
      std::string text;
      for (const int64_t dim : shape) text += (text.empty() ? "" : ", ") + std::to_string(dim);
      throw invalid(what + " has the shape (" + text + ") for a batch of " + std::to_string(rows));
    }
    const uint64_t elements = product(shape.data(), rank);
    produced.row_elements = model_.batches() ? product(shape.data() + 1, rank - 1) : elements;
    if (rank == 0) shape.assign(tensor.dims.size(), 1);  // Triton has no scalars: a configuration gives them ones
    if (!tensor.is_text()) {
      void* data = nullptr;
      ort::GetTensorMutableData(produced.value.get(), &data);
      produced.data = static_cast<const char*>(data);
      return;
    }
    size_t size = 0;
    ort::GetStringTensorDataLength(produced.value.get(), &size);
    produced.texts.resize(size);
    produced.offsets.resize(elements + 1, size);
    ort::GetStringTensorContent(produced.value.get(), produced.texts.data(), size, produced.offsets.data(), elements);
  }

  void respond(Job& job, uint64_t first_row, const std::vector<Produced>& outputs) const {
    check(TRITONBACKEND_ResponseNew(&job.response, job.request));
    for (size_t index = 0; index < outputs.size(); ++index) {
      if (job.wants[index]) write(job, first_row, model_.outputs()[index], outputs[index]);
    }
  }

  void write(const Job& job, uint64_t first_row, const Tensor& tensor, const Produced& produced) const {
    std::vector<int64_t> shape = produced.shape;
    if (model_.batches()) shape[0] = static_cast<int64_t>(job.rows);
    const uint64_t first = first_row * produced.row_elements, count = job.rows * produced.row_elements;
    uint64_t size = count * tensor.type->size;
    if (tensor.is_text()) size = produced.offsets[first + count] - produced.offsets[first] + count * sizeof(uint32_t);
    triton::Output* output = nullptr;
    check(TRITONBACKEND_ResponseOutput(job.response, &output, tensor.name.c_str(), tensor.type->triton, shape.data(),
                                       static_cast<uint32_t>(shape.size())));
    void* buffer = nullptr;
    triton::Memory memory = triton::Memory::kCpu;
    int64_t memory_id = 0;
    check(TRITONBACKEND_OutputBuffer(output, &buffer, size, &memory, &memory_id));
    if (memory == triton::Memory::kGpu) throw unsupported("the output " + tensor.name + " in a GPU's memory");
    if (tensor.is_text()) return write_strings(produced, first, count, static_cast<char*>(buffer));
    if (size > 0) memcpy(buffer, produced.data + first * tensor.type->size, size);
  }

  void finish() noexcept {
    const uint64_t end = now_ns();
    uint64_t rows = 0;
    bool any_success = false;
    for (Job& job : jobs_) {
      if (job.response == nullptr) note(TRITONBACKEND_ResponseNew(&job.response, job.request));
      if (job.response == nullptr) continue;
      triton::Error* error = nullptr;
      if (job.failure) error = TRITONSERVER_ErrorNew(job.failure->code, job.failure->what());
      note(TRITONBACKEND_ResponseSend(job.response, triton::kFinalResponse, error));
      if (error != nullptr) TRITONSERVER_ErrorDelete(error);
    }
    for (Job& job : jobs_) {
      rows += job.rows;
      any_success = any_success || !job.failure;
      note(TRITONBACKEND_ModelInstanceReportStatistics(self_, job.request, !job.failure, start_, compute_start_,
                                                       compute_end_, end));
      note(TRITONBACKEND_RequestRelease(job.request, triton::kReleaseAll));
    }
    if (!any_success) return;
    note(TRITONBACKEND_ModelInstanceReportBatchStatistics(self_, rows, start_, compute_start_, compute_end_, end));
  }

  const Model& model_;
  triton::ModelInstance* self_;
  ort::Owned<ort::RunOptions> run_options_;
  ort::Owned<ort::Session> session_;
  std::vector<bool> scalars_;                                 // for each input
  std::vector<std::vector<char>> scratch_;                    // for each input, kept from batch to batch
  std::vector<Job> jobs_;                                     // of the batch
  std::vector<Span> spans_;                                   // of the input
  uint64_t start_ = 0, compute_start_ = 0, compute_end_ = 0;  // of the batch
};

}  // namespace

std::unique_ptr<Instance> Instance::make(const Model& model, triton::ModelInstance* self) {
  return std::make_unique<SessionInstance>(model, self);
}
