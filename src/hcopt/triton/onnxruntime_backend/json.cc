#include "json.h"

#include <algorithm>
#include <charconv>

#include "failure.h"

namespace {

// Triton's deepest configurations have less than ten levels.
constexpr int kDeepest = 64;

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

void append_utf8(uint32_t code, std::string& text) {
  if (code < 0x80) {
    text += static_cast<char>(code);
    return;
  }
  int left = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;  // bytes after the first
  constexpr uint32_t first[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(first[left] | code >> 6 * left);
  while (left-- > 0) text += static_cast<char>(0x80 | (code >> 6 * left & 0x3F));
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Json whole() {
    Json value = read(0);
    skip_space();
    if (at_ != text_.size()) fail("something after the end");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw invalid("no JSON at byte " + std::to_string(at_) + ": " + what);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(std::string_view word) {
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }

  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  Json read(int depth) {
    if (depth > kDeepest) fail("too deep");
    skip_space();
    if (take("{")) return read_items(Json::Kind::kObject, "}", depth);
    if (take("[")) return read_items(Json::Kind::kArray, "]", depth);
    if (take("\"")) return {Json::Kind::kString, rest_of_string(), {}, {}};
    if (take("null")) return {};
    if (take("true")) return {Json::Kind::kTrue, "true", {}, {}};
    if (take("false")) return {Json::Kind::kFalse, "false", {}, {}};
    return {Json::Kind::kNumber, number(), {}, {}};
  }

  Json read_items(Json::Kind kind, std::string_view end, int depth) {
    Json value{kind, {}, {}, {}};
    skip_space();
    if (take(end)) return value;
    do {
      skip_space();
      if (kind == Json::Kind::kObject) {
        if (!take("\"")) fail("a key was expected");
        value.keys.push_back(rest_of_string());
        skip_space();
        if (!take(":")) fail("a colon was expected");
      }
      value.items.push_back(read(depth + 1));
      skip_space();
    } while (take(","));
    if (!take(end)) fail("a comma or the end was expected");
    return value;
  }

  std::string number() {
    const size_t start = at_;
    take("-");
    if (!take("0")) digits();
    if (take(".")) digits();
    if (take("e") || take("E")) {
      if (!take("+")) take("-");
      digits();
    }
    return std::string(text_.substr(start, at_ - start));
  }

  void digits() {
    if (!is_digit(peek())) fail("a value was expected");
    while (is_digit(peek())) ++at_;
  }

  std::string rest_of_string() {
    std::string text;
    while (!take("\"")) {
      if (static_cast<unsigned char>(peek()) < 0x20) fail("a string has no end, or a control character");
      if (take("\\")) {
        append_escaped(text);
      } else {
        text += text_[at_++];
      }
    }
    return text;
  }

  void append_escaped(std::string& text) {
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (take("u")) return append_utf8(code_point(), text);
    const size_t found = letters.find(peek());
    if (found == std::string_view::npos) fail("an unknown escape");
    text += meanings[found];
    ++at_;
  }

  uint32_t code_point() {
    const uint32_t first = four_digits();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || !take("\\u")) fail("half a character");
    const uint32_t second = four_digits();
    if (second < 0xDC00 || second > 0xDFFF) fail("half a character");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  uint32_t four_digits() {
    uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const char* const end = digits.data() + digits.size();
    if (digits.size() < 4 || std::from_chars(digits.data(), end, code, 16).ptr != end) fail("no four hex digits");
    at_ += 4;
    return code;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Json Json::parse(std::string_view text) { return Reader(text).whole(); }

const Json& Json::operator[](std::string_view key) const {
  // Never destroyed: threads of the server may still ask while it ends.
  static const Json& none = *new Json;
  for (size_t index = 0; index < keys.size(); ++index) {
    if (keys[index] == key) return items[index];
  }
  return none;
}

int64_t Json::integer() const {
  int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (text.empty() || error != std::errc() || stop != end) throw invalid("'" + text + "' is no whole number");
  return value;
}

std::vector<int64_t> Json::integers() const {
  std::vector<int64_t> values;
  for (const Json& item : items) values.push_back(item.integer());
  return values;
}
