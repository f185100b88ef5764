#include "json.h"

#include <charconv>

#include "failure.h"

namespace {

// Triton's deepest configurations have less than ten levels.
constexpr int kDeepest = 64;

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

void append_utf8(std::uint32_t code, std::string& text) {
  if (code < 0x80) {
    text += static_cast<char>(code);
    return;
  }
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  const std::uint32_t first[] = {0, 0xC0, 0xE0, 0xF0};
  text += static_cast<char>(first[more] | code >> (6 * more));
  for (int left = more - 1; left >= 0; --left) text += static_cast<char>(0x80 | (code >> (6 * left) & 0x3F));
}

}  // namespace

class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : text_(text) {}

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

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool take(char letter) {
    skip_space();
    if (peek() != letter || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  Json read(int depth) {
    if (depth > kDeepest) fail("too deep");
    Json value;
    if (take('{')) {
      value.kind_ = Json::Kind::kObject;
      read_items(value, '}', depth);
    } else if (take('[')) {
      value.kind_ = Json::Kind::kArray;
      read_items(value, ']', depth);
    } else if (take('"')) {
      value.kind_ = Json::Kind::kString;
      value.text_ = rest_of_string();
    } else if (peek() == '-' || is_digit(peek())) {
      value.kind_ = Json::Kind::kNumber;
      value.text_ = number();
    } else {
      value.kind_ = word(value.text_);
    }
    return value;
  }

  void read_items(Json& value, char end, int depth) {
    if (take(end)) return;
    do {
      if (end == '}') {
        if (!take('"')) fail("a key was expected");
        value.keys_.push_back(rest_of_string());
        if (!take(':')) fail("a colon was expected");
      }
      value.items_.push_back(read(depth + 1));
    } while (take(','));
    if (!take(end)) fail("a comma or an end was expected");
  }

  Json::Kind word(std::string& text) {
    for (const auto& [known, kind] : {std::pair{"null", Json::Kind::kNull}, std::pair{"true", Json::Kind::kTrue},
                                      std::pair{"false", Json::Kind::kFalse}}) {
      const std::string_view wanted = known;
      if (text_.substr(at_, wanted.size()) != wanted) continue;
      at_ += wanted.size();
      if (kind != Json::Kind::kNull) text = wanted;
      return kind;
    }
    fail("a value was expected");
  }

  std::string number() {
    const std::size_t start = at_;
    if (peek() == '-') ++at_;
    if (peek() == '0') {
      ++at_;
    } else {
      digits();
    }
    if (peek() == '.') {
      ++at_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    return std::string(text_.substr(start, at_ - start));
  }

  void digits() {
    if (!is_digit(peek())) fail("a digit was expected");
    while (is_digit(peek())) ++at_;
  }

  std::string rest_of_string() {
    std::string text;
    while (true) {
      if (at_ == text_.size()) fail("a string without an end");
      const char letter = text_[at_++];
      if (letter == '"') return text;
      if (static_cast<unsigned char>(letter) < 0x20) fail("a control character in a string");
      if (letter == '\\') {
        append_escaped(text);
      } else {
        text += letter;
      }
    }
  }

  void append_escaped(std::string& text) {
    constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char letter = peek();
    ++at_;
    if (letter == 'u') return append_utf8(code_point(), text);
    const std::size_t found = letters.find(letter);
    if (found == std::string_view::npos) fail("an unknown escape");
    text += meanings[found];
  }

  std::uint32_t code_point() {
    const std::uint32_t first = four_digits();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || text_.substr(at_, 2) != "\\u") fail("half a character");
    at_ += 2;
    const std::uint32_t second = four_digits();
    if (second < 0xDC00 || second > 0xDFFF) fail("half a character");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  std::uint32_t four_digits() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) fail("four hexadecimal digits expected");
    at_ += 4;
    return code;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Json Json::parse(std::string_view text) { return JsonReader(text).whole(); }

const Json& Json::operator[](std::string_view key) const {
  // Never destroyed: threads of the server may still ask at its end.
  static const Json& none = *new Json;
  for (std::size_t index = 0; index < keys_.size(); ++index) {
    if (keys_[index] == key) return items_[index];
  }
  return none;
}

std::int64_t Json::integer() const {
  std::int64_t value = 0;
  const char* const end = text_.data() + text_.size();
  const auto [stop, error] = std::from_chars(text_.data(), end, value);
  if (text_.empty() || error != std::errc() || stop != end) throw invalid("'" + text_ + "' is no whole number");
  return value;
}

std::vector<std::int64_t> Json::integers() const {
  std::vector<std::int64_t> values;
  for (const Json& item : items_) values.push_back(item.integer());
  return values;
}
