#include "instance.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace {

std::uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

std::uint64_t product(const std::int64_t* dims, std::size_t count, std::uint64_t start) {
  std::uint64_t total = start;
  for (std::size_t axis = 0; axis < count; ++axis) {
    if (dims[axis] < 0 || __builtin_mul_overflow(total, static_cast<std::uint64_t>(dims[axis]), &total)) {
      throw invalid("a shape that is too large");
    }
  }
  return total;
}

// As Python writes a shape.
std::string written(const std::vector<std::int64_t>& shape) {
  std::string text = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

bool is_text(const Tensor& tensor) { return tensor.type->size == 0; }

}  // namespace

Instance::Instance(const Model& model, triton::ModelInstance* self)
    : model_(model),
      self_(self),
      session_(model.open_session()),
      run_options_(model.run_options()),
      scratch_(model.inputs().size()) {}

Instance::~Instance() {
  session_.reset();
  // Or the C library keeps the weights' memory for itself.
  malloc_trim(0);
}

void Instance::execute(triton::Request** requests, std::uint32_t count) {
  Times times{};
  times.start = now_ns();
  jobs_.resize(count);
  for (std::uint32_t index = 0; index < count; ++index) {
    Job& job = jobs_[index];
    job.request = requests[index];
    job.response = nullptr;
    job.rows = 0;
    job.failure.reset();
  }
  Jobs good;
  for (Job& job : jobs_) {
    try {
      read(job);
      good.push_back(&job);
    } catch (const Failure& failure) {
      job.failure = failure;
    } catch (const std::exception& error) {
      job.failure = Failure(triton::ErrorCode::kInternal, error.what());
    }
  }
  answer_together(good, times);
  if (times.compute_start == 0) times.compute_start = times.compute_end = now_ns();
  times.end = now_ns();
  finish(times);
}

void Instance::read(Job& job) const {
  const auto& inputs = model_.inputs();
  job.pieces.assign(inputs.size(), Piece());
  for (std::size_t index = 0; index < inputs.size(); ++index) read_input(job, inputs[index], job.pieces[index]);
  if (!model_.batches()) job.rows = 1;

  const auto& outputs = model_.outputs();
  job.wants.assign(outputs.size(), 0);
  std::uint32_t count = 0;
  triton::check(TRITONBACKEND_RequestOutputCount(job.request, &count));
  for (std::uint32_t index = 0; index < count; ++index) {
    const char* name = nullptr;
    triton::check(TRITONBACKEND_RequestOutputName(job.request, index, &name));
    const auto found = std::find_if(outputs.begin(), outputs.end(), [&](const Tensor& tensor) { return tensor.name == name; });
    if (found == outputs.end()) throw invalid(std::string("there is no output ") + name);
    job.wants[static_cast<std::size_t>(found - outputs.begin())] = 1;
  }
}

void Instance::read_input(Job& job, const Tensor& tensor, Piece& piece) const {
  triton::Input* input = nullptr;
  if (triton::Error* const error = TRITONBACKEND_RequestInput(job.request, tensor.name.c_str(), &input)) {
    if (!tensor.optional) triton::check(error);
    TRITONSERVER_ErrorDelete(error);
    return;
  }
  triton::DataType type = 0;
  triton::check(TRITONBACKEND_InputProperties(input, nullptr, &type, &piece.shape, &piece.rank, &piece.byte_size,
                                              &piece.buffer_count));
  if (type != tensor.type->triton) throw invalid("the input " + tensor.name + " is not of " + std::string(tensor.type->name));
  const std::uint64_t elements = product(piece.shape, piece.rank, 1);
  if (!is_text(tensor) && piece.byte_size != product(piece.shape, piece.rank, tensor.type->size)) {
    throw invalid("the input " + tensor.name + " has " + std::to_string(piece.byte_size) + " bytes for " + std::to_string(elements) + " elements");
  }
  if (model_.batches()) {
    const std::uint64_t rows = piece.rank == 0 ? 0 : static_cast<std::uint64_t>(piece.shape[0]);
    if (&tensor != &model_.inputs().front() && rows != job.rows) throw invalid("the inputs differ in their number of rows");
    job.rows = rows;
  }
  piece.input = input;
}

void Instance::answer_together(const Jobs& jobs, Times& times) {
  if (jobs.size() > 1 && model_.batches() && fit_together(jobs)) {
    try {
      return answer(jobs, times);
    } catch (const std::exception&) {
      // One of them is bad, or too many do not fit into memory: that must not harm the others.
    }
  }
  for (Job* const job : jobs) {
    try {
      answer({job}, times);
    } catch (const Failure& failure) {
      job->failure = failure;
    } catch (const std::exception& error) {
      job->failure = Failure(triton::ErrorCode::kInternal, error.what());
    }
  }
}

bool Instance::fit_together(const Jobs& jobs) {
  const std::vector<Piece>& first = jobs.front()->pieces;
  const auto same_rows = [](const Piece& one, const Piece& other) {
    if (one.input == nullptr || other.input == nullptr) return one.input == other.input;
    return one.rank == other.rank && std::equal(one.shape + 1, one.shape + one.rank, other.shape + 1);
  };
  return std::all_of(jobs.begin() + 1, jobs.end(), [&](const Job* job) {
    return std::equal(first.begin(), first.end(), job->pieces.begin(), same_rows);
  });
}

void Instance::answer(const Jobs& jobs, Times& times) {
  const std::vector<Produced> outputs = run(jobs, times);
  // From here on a response may exist that nothing can replace: what goes wrong is an error of its request.
  std::uint64_t first_row = 0;
  for (Job* const job : jobs) {
    deliver(*job, first_row, outputs);
    first_row += job->rows;
  }
}

std::vector<Instance::Produced> Instance::run(const Jobs& jobs, Times& times) {
  std::vector<ort::Owned<ort::Value>> inputs;
  std::vector<const char*> input_names, output_names;
  std::vector<const ort::Value*> given;
  for (std::size_t index = 0; index < model_.inputs().size(); ++index) {
    if (jobs.front()->pieces[index].input == nullptr) continue;
    inputs.push_back(gather(index, jobs));
    given.push_back(inputs.back().get());
    input_names.push_back(model_.inputs()[index].name.c_str());
  }
  std::vector<std::size_t> wanted;
  for (std::size_t index = 0; index < model_.outputs().size(); ++index) {
    if (std::none_of(jobs.begin(), jobs.end(), [&](const Job* job) { return job->wants[index]; })) continue;
    wanted.push_back(index);
    output_names.push_back(model_.outputs()[index].name.c_str());
  }
  std::vector<ort::Value*> made(wanted.size(), nullptr);
  std::vector<Produced> outputs(model_.outputs().size());
  if (times.compute_start == 0) times.compute_start = times.compute_end = now_ns();
  ort::Run(session_.get(), run_options_.get(), input_names.data(), given.data(), given.size(), output_names.data(),
           output_names.size(), made.data());
  times.compute_end = now_ns();
  for (std::size_t index = 0; index < wanted.size(); ++index) outputs[wanted[index]].value.reset(made[index]);
  std::uint64_t rows = 0;
  for (const Job* const job : jobs) rows += job->rows;
  for (const std::size_t index : wanted) inspect(model_.outputs()[index], rows, outputs[index]);
  return outputs;
}

ort::Owned<ort::Value> Instance::gather(std::size_t index, const Jobs& jobs) {
  const Tensor& tensor = model_.inputs()[index];
  spans_.clear();
  std::uint64_t size = 0, rows = 0;
  for (const Job* const job : jobs) {
    collect_spans(tensor, job->pieces[index]);
    size += job->pieces[index].byte_size;
    rows += job->rows;
  }
  const char* const data = in_one_piece(index, size);
  const Piece& first = jobs.front()->pieces[index];
  std::vector<std::int64_t> shape(first.shape, first.shape + first.rank);
  if (model_.batches()) shape[0] = static_cast<std::int64_t>(rows);
  if (is_text(tensor)) return make_strings(shape, data, index, jobs);
  return ort::make<ort::Value>(ort::CreateTensorWithDataAsOrtValue, model_.runtime().cpu(), const_cast<char*>(data),
                               size, shape.data(), shape.size(), tensor.type->onnxruntime);
}

void Instance::collect_spans(const Tensor& tensor, const Piece& piece) {
  std::uint64_t found = 0;
  for (std::uint32_t number = 0; number < piece.buffer_count; ++number) {
    const void* data = nullptr;
    std::uint64_t size = 0;
    triton::Memory memory = triton::Memory::kCpu;
    std::int64_t memory_id = 0;
    triton::check(TRITONBACKEND_InputBuffer(piece.input, number, &data, &size, &memory, &memory_id));
    if (memory == triton::Memory::kGpu) {
      throw Failure(triton::ErrorCode::kUnsupported, "the input " + tensor.name + " is in a GPU's memory");
    }
    if (size > 0) spans_.push_back({static_cast<const char*>(data), size});
    found += size;
  }
  if (found != piece.byte_size) throw invalid("the input " + tensor.name + " is not whole");
}

const char* Instance::in_one_piece(std::size_t index, std::size_t size) {
  const std::size_t alignment = std::max<std::size_t>(model_.inputs()[index].type->size, 1);
  const char* end = spans_.empty() ? nullptr : spans_.front().data;
  bool is_whole = end != nullptr && reinterpret_cast<std::uintptr_t>(end) % alignment == 0;
  for (const Span& span : spans_) {
    is_whole = is_whole && span.data == end;
    end = span.data + span.size;
  }
  if (is_whole) return spans_.front().data;
  Scratch& scratch = scratch_[index];
  if (scratch.data == nullptr || scratch.size < size) {
    scratch.size = 0;
    scratch.data.reset(new char[std::max<std::size_t>(size, 1)]);
    scratch.size = size;
  }
  char* to = scratch.data.get();
  for (const Span& span : spans_) {
    std::memcpy(to, span.data, span.size);
    to += span.size;
  }
  return scratch.data.get();
}

// Triton's strings are four bytes with the length, then the text, one behind the other.
ort::Owned<ort::Value> Instance::make_strings(const std::vector<std::int64_t>& shape, const char* data,
                                              std::size_t index, const Jobs& jobs) const {
  auto value = ort::make<ort::Value>(ort::CreateTensorAsOrtValue, model_.runtime().allocator(), shape.data(),
                                     shape.size(), model_.inputs()[index].type->onnxruntime);
  const auto bad = [&] { return invalid("the input " + model_.inputs()[index].name + " holds other strings than its shape says"); };
  std::size_t number = 0;
  for (const Job* const job : jobs) {
    const Piece& piece = job->pieces[index];
    std::uint64_t left = piece.byte_size;
    for (std::uint64_t element = product(piece.shape, piece.rank, 1); element > 0; --element) {
      std::uint32_t length = 0;
      if (left < sizeof length) throw bad();
      std::memcpy(&length, data, sizeof length);
      data += sizeof length;
      left -= sizeof length;
      if (left < length) throw bad();
      char* text = nullptr;
      ort::GetResizedStringTensorElementBuffer(value.get(), number++, length, &text);
      if (length > 0) std::memcpy(text, data, length);
      data += length;
      left -= length;
    }
    if (left > 0) throw bad();
  }
  return value;
}

void Instance::inspect(const Tensor& tensor, std::uint64_t rows, Produced& produced) const {
  const auto info = ort::make<ort::TensorInfo>(ort::GetTensorTypeAndShape, produced.value.get());
  int type = 0;
  std::size_t rank = 0;
  ort::GetTensorElementType(info.get(), &type);
  ort::GetDimensionsCount(info.get(), &rank);
  produced.shape.resize(rank);
  ort::GetDimensions(info.get(), produced.shape.data(), rank);
  if (type != tensor.type->onnxruntime) throw invalid("the output " + tensor.name + " is of another type than the model says");
  const std::uint64_t elements = product(produced.shape.data(), rank, 1);
  if (model_.batches()) {
    if (rank == 0 || static_cast<std::uint64_t>(produced.shape[0]) != rows) {
      throw invalid("the output " + tensor.name + " has the shape " + written(produced.shape) + " for a batch of " + std::to_string(rows));
    }
    produced.row_elements = rows == 0 ? 0 : elements / rows;
  } else {
    produced.row_elements = elements;
    // Triton has no scalars; a configuration gives them a shape of ones.
    if (rank == 0) produced.shape = tensor.dims;
  }
  if (!is_text(tensor)) {
    void* data = nullptr;
    ort::GetTensorMutableData(produced.value.get(), &data);
    produced.data = static_cast<const char*>(data);
    return;
  }
  std::size_t size = 0;
  ort::GetStringTensorDataLength(produced.value.get(), &size);
  produced.texts.resize(size);
  produced.offsets.resize(elements + 1);
  ort::GetStringTensorContent(produced.value.get(), produced.texts.data(), size, produced.offsets.data(), elements);
  produced.offsets[elements] = size;
}

void Instance::deliver(Job& job, std::uint64_t first_row, const std::vector<Produced>& outputs) const {
  try {
    triton::check(TRITONBACKEND_ResponseNew(&job.response, job.request));
    for (std::size_t index = 0; index < outputs.size(); ++index) {
      if (job.wants[index]) write(job, first_row, model_.outputs()[index], outputs[index]);
    }
  } catch (const Failure& failure) {
    job.failure = failure;
  } catch (const std::exception& error) {
    job.failure = Failure(triton::ErrorCode::kInternal, error.what());
  }
}

void Instance::write(Job& job, std::uint64_t first_row, const Tensor& tensor, const Produced& produced) const {
  const std::uint64_t first = first_row * produced.row_elements, count = job.rows * produced.row_elements;
  std::vector<std::int64_t> shape = produced.shape;
  if (model_.batches()) shape[0] = static_cast<std::int64_t>(job.rows);
  std::uint64_t size = count * tensor.type->size;
  if (is_text(tensor)) size = produced.offsets[first + count] - produced.offsets[first] + count * sizeof(std::uint32_t);

  triton::Output* output = nullptr;
  triton::check(TRITONBACKEND_ResponseOutput(job.response, &output, tensor.name.c_str(), tensor.type->triton,
                                             shape.data(), static_cast<std::uint32_t>(shape.size())));
  void* buffer = nullptr;
  triton::Memory memory = triton::Memory::kCpu;
  std::int64_t memory_id = 0;
  triton::check(TRITONBACKEND_OutputBuffer(output, &buffer, size, &memory, &memory_id));
  if (memory == triton::Memory::kGpu) {
    throw Failure(triton::ErrorCode::kUnsupported, "the output " + tensor.name + " is wanted in a GPU's memory");
  }
  if (size == 0) return;
  char* to = static_cast<char*>(buffer);
  if (!is_text(tensor)) {
    std::memcpy(to, produced.data + first * tensor.type->size, size);
    return;
  }
  for (std::uint64_t element = first; element < first + count; ++element) {
    const std::size_t start = produced.offsets[element];
    const auto length = static_cast<std::uint32_t>(produced.offsets[element + 1] - start);
    std::memcpy(to, &length, sizeof length);
    to += sizeof length;
    std::memcpy(to, produced.texts.data() + start, length);
    to += length;
  }
}

void Instance::finish(const Times& times) noexcept {
  for (Job& job : jobs_) {
    if (job.response == nullptr) triton::note(TRITONBACKEND_ResponseNew(&job.response, job.request));
    if (job.response == nullptr) continue;
    triton::Error* error = nullptr;
    if (job.failure) error = TRITONSERVER_ErrorNew(job.failure->code, job.failure->what());
    triton::note(TRITONBACKEND_ResponseSend(job.response, triton::kFinalResponse, error));
    if (error != nullptr) TRITONSERVER_ErrorDelete(error);
  }
  std::uint64_t rows = 0;
  bool any = false;
  for (Job& job : jobs_) {
    rows += job.rows;
    any = any || !job.failure;
    triton::note(TRITONBACKEND_ModelInstanceReportStatistics(self_, job.request, !job.failure, times.start, times.compute_start,
                                                             times.compute_end, times.end));
    triton::note(TRITONBACKEND_RequestRelease(job.request, triton::kReleaseAll));
  }
  if (!any) return;
  triton::note(TRITONBACKEND_ModelInstanceReportBatchStatistics(self_, rows, times.start, times.compute_start,
                                                                times.compute_end, times.end));
}
