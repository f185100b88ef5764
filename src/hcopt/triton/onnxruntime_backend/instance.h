// An instance of a model: answers batches of requests out of one run of its session wherever that is possible.
#pragma once

#include <stdint.h>

#include <memory>

#include "model.h"

class Instance {
 public:
  // Throws a Failure where its session cannot be made.
  static std::unique_ptr<Instance> make(const Model& model, triton::ModelInstance* self);
  virtual ~Instance() = default;

  // Answers the requests, counts them, and gives them back. Never two calls at once. Where it throws, the requests are
  // as they were.
  virtual void execute(triton::Request** requests, uint32_t count) = 0;
};
