// Reads JSON (RFC 8259), the form in which Triton tells a model's configuration.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// A value. What is not there is null, so that `config["optimization"]["graph"]` needs no questions on its way.
class Json {
 public:
  // Throws a Failure that says where the text is no JSON.
  static Json parse(std::string_view text);

  const Json& operator[](std::string_view key) const;
  const std::vector<Json>& items() const { return items_; }        // of an array; the values of an object
  const std::vector<std::string>& keys() const { return keys_; }   // of an object
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_true() const { return kind_ == Kind::kTrue; }
  // A string's text; of a number and a boolean, how it was written; else nothing.
  const std::string& text() const { return text_; }
  // A whole number, which may be written as a string as protobuf does for 64 bits. Throws a Failure for anything else.
  std::int64_t integer() const;
  std::vector<std::int64_t> integers() const;

 private:
  friend class JsonReader;
  enum class Kind { kNull, kTrue, kFalse, kNumber, kString, kArray, kObject };

  Kind kind_ = Kind::kNull;
  std::string text_;
  std::vector<std::string> keys_;
  std::vector<Json> items_;
};
