// An instance of a model: answers batches of requests out of one run of its session wherever that is possible.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failure.h"
#include "model.h"

class Instance {
 public:
  // Throws a Failure where the session cannot be made.
  Instance(const Model& model, triton::ModelInstance* self);
  ~Instance();

  // Answers the requests, counts them, and gives them back. Never two calls at once.
  void execute(triton::Request** requests, std::uint32_t count);

 private:
  // An input of a request as Triton has it; without `input` it is an optional one that the request lacks.
  struct Piece {
    triton::Input* input = nullptr;
    const std::int64_t* shape = nullptr;
    std::uint32_t rank = 0;
    std::uint64_t byte_size = 0;
    std::uint32_t buffer_count = 0;
  };

  // A request on its way to its answer.
  struct Job {
    triton::Request* request = nullptr;
    triton::Response* response = nullptr;
    std::uint64_t rows = 0;  // 1 where the model does not batch
    std::vector<Piece> pieces;
    std::vector<char> wants;  // for each output, whether it was asked for
    std::optional<Failure> failure;
  };
  using Jobs = std::vector<Job*>;

  // An output of a run.
  struct Produced {
    ort::Owned<ort::Value> value;  // null where no request wants it
    std::vector<std::int64_t> shape;
    std::uint64_t row_elements = 0;
    const char* data = nullptr;
    std::string texts;                 // of strings: one behind the other
    std::vector<std::size_t> offsets;  // of strings: where each begins, and the end of the last
  };

  // Part of an input, in memory that is Triton's.
  struct Span {
    const char* data;
    std::size_t size;
  };

  // Memory that is kept from batch to batch.
  struct Scratch {
    std::unique_ptr<char[]> data;
    std::size_t size = 0;
  };

  struct Times {
    std::uint64_t start, compute_start, compute_end, end;
  };

  void read(Job& job) const;
  void read_input(Job& job, const Tensor& tensor, Piece& piece) const;
  void answer(const Jobs& jobs, Times& times);
  void answer_together(const Jobs& jobs, Times& times);
  static bool fit_together(const Jobs& jobs);

  std::vector<Produced> run(const Jobs& jobs, Times& times);
  ort::Owned<ort::Value> gather(std::size_t index, const Jobs& jobs);
  void collect_spans(const Tensor& tensor, const Piece& piece);
  const char* in_one_piece(std::size_t index, std::size_t size);
  ort::Owned<ort::Value> make_strings(const std::vector<std::int64_t>& shape, const char* data, std::size_t index,
                                      const Jobs& jobs) const;
  void inspect(const Tensor& tensor, std::uint64_t rows, Produced& produced) const;
  void deliver(Job& job, std::uint64_t first_row, const std::vector<Produced>& outputs) const;
  void write(Job& job, std::uint64_t first_row, const Tensor& tensor, const Produced& produced) const;
  void finish(const Times& times) noexcept;

  const Model& model_;
  triton::ModelInstance* self_;
  ort::Owned<ort::Session> session_;
  ort::Owned<ort::RunOptions> run_options_;
  std::vector<Job> jobs_;  // these three only save allocations from one batch to the next
  std::vector<Span> spans_;
  std::vector<Scratch> scratch_;
};
