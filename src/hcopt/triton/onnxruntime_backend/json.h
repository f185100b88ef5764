// Reads JSON (RFC 8259), the form in which Triton tells a model's configuration.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

// A value. What is not there is null, so that `config["optimization"]["graph"]` needs no questions on its way.
struct Json {
  enum class Kind { kNull, kTrue, kFalse, kNumber, kString, kArray, kObject };

  // Throws a Failure that says where the text is no JSON.
  static Json parse(std::string_view text);

  const Json& operator[](std::string_view key) const;
  bool is_null() const { return kind == Kind::kNull; }
  bool is_true() const { return kind == Kind::kTrue; }
  // A whole number, which may be a string too, as protobuf writes 64 bits. Throws a Failure for anything else.
  int64_t integer() const;
  std::vector<int64_t> integers() const;

  Kind kind = Kind::kNull;
  std::string text;               // a string; a number as it was written
  std::vector<std::string> keys;  // of an object
  std::vector<Json> items;        // of an array; the values of an object
};
