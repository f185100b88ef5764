// A server in the place of Triton: its functions as the backend calls them, with everything about a request in sight,
// and with a failure of whichever call a test asks for.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "triton_interface.h"

#define CHECK(what)                                                           \
  do {                                                                        \
    if (!(what)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
      std::exit(1);                                                           \
    }                                                                         \
  } while (false)

namespace triton {

struct Error {
  ErrorCode code;
  std::string message;
};

struct Message {
  std::string text;
};

struct Backend {
  std::string config;
  void* state = nullptr;
};

struct BackendAttributes {
  InstanceKind kind = InstanceKind::kAuto;
  bool loads_in_parallel = false;
};

struct Model {
  Backend* backend;
  std::string config, folder;
  void* state = nullptr;
};

struct ModelInstance {
  Model* model;
  InstanceKind kind = InstanceKind::kCpu;
  void* state = nullptr;
  std::vector<uint64_t> batches = {};  // the sizes of those that were counted
};

struct Buffer {
  const void* data;
  uint64_t size;
  Memory memory = Memory::kCpu;
};

struct Input {
  DataType type;
  std::vector<int64_t> shape;
  std::vector<Buffer> buffers;
  uint64_t byte_size;
};

struct Output {
  DataType type;
  std::vector<int64_t> shape;
  std::vector<char> data;
  Memory memory;
};

struct Request {
  std::map<std::string, Input> inputs;
  std::vector<std::string> wanted;
  Memory output_memory = Memory::kCpu;
  // What has become of it.
  int sent = 0, released = 0, counted = 0;
  bool success = false;
  std::optional<Error> error = {};
  std::map<std::string, Output> outputs = {};
};

struct Response {
  Request* request;
  std::map<std::string, Output> outputs = {};
};

}  // namespace triton

// The call of one of Triton's functions that is to fail, counted from 1; 0: none.
inline std::atomic<int> failing_call{0}, calls{0};
inline std::string failed_function;
inline uint32_t api_major = 1, api_minor = 19;
inline triton::Artifact artifact = triton::Artifact::kFilesystem;
inline std::mutex log_mutex;
inline std::string logged;

inline void fail_at(int call) {
  failing_call = call;
  calls = 0;
  failed_function.clear();
}
