// An ONNX Runtime that is too old: it has no interface of the version that is asked for.
#include <cstdint>

namespace {
struct Base {
  const void* (*get_api)(std::uint32_t version);
  const char* (*version)();
};
const Base base = {[](std::uint32_t) -> const void* { return nullptr; }, [] { return "1.19.2"; }};
}  // namespace

extern "C" const Base* OrtGetApiBase() { return &base; }
