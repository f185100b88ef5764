// Failures inside the backend are exceptions; these come from Triton's errors, and go back as such.
#pragma once

#include <stdexcept>
#include <string>

#include "triton_interface.h"

struct Failure : std::runtime_error {
  Failure(triton::ErrorCode kind, const std::string& message) : std::runtime_error(message), code(kind) {}
  triton::ErrorCode code;
};

inline Failure invalid(const std::string& message) { return {triton::ErrorCode::kInvalid, message}; }
inline Failure unsupported(const std::string& what) {
  return {triton::ErrorCode::kUnsupported, "hcopt's onnxruntime backend does not support " + what};
}

namespace triton {

// Throws what a function of Triton's says, and deletes it.
void check(Error* error);

// Writes it into the log instead, where nobody is left to be told.
void note(Error* error) noexcept;

void log(LogLevel level, const std::string& message) noexcept;

}  // namespace triton
