// Failures inside the backend are exceptions; this is how they come from Triton and go back to it.
#pragma once

#include <stdexcept>
#include <string>

#include "triton_interface.h"

struct Failure : std::runtime_error {
  Failure(triton::ErrorCode kind, const std::string& message) : std::runtime_error(message), code(kind) {}
  triton::ErrorCode code;
};

inline Failure invalid(const std::string& message) { return {triton::ErrorCode::kInvalid, message}; }

namespace triton {

// Throws what Triton's function says, and deletes it.
void check(Error* error);

// Writes what Triton's function says into its log: where nobody is left to be told.
void note(Error* error) noexcept;

void log(LogLevel level, const std::string& message) noexcept;

}  // namespace triton
