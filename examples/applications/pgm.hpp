/// Grey images in the portable format PGM (netpbm): P2 (text) and P5 (binary).
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::pgm {

inline constexpr std::size_t side_max = 65536;
inline constexpr std::size_t pixels_max = std::size_t{1} << 28;

/// Brightness from 0 (black) to 255 (the file's maximum), row after row.
struct image {
  std::size_t width = 0;
  std::size_t height = 0;
  std::vector<double> pixels;
};

namespace detail {

/// Walks the text parts of the format: numbers between white space and # comments.
class scanner {
 public:
  explicit scanner(std::string_view text) : text_(text) {}

  /// False when there is no number of at most `max` here.
  bool number(std::size_t max, std::size_t& value) {
    skip_space();
    value = 0;
    bool any = false;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      value = value * 10 + static_cast<std::size_t>(text_[at_] - '0');
      any = true;
      if (value > max) return false;
    }
    return any;
  }
  /// The single white space between header and binary pixels.
  bool separator() { return at_ < text_.size() && is_space(text_[at_++]); }
  [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }

 private:
  static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
  void skip_space() {
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
        if (at_ == text_.size()) return;
      } else if (!is_space(text_[at_])) {
        return;
      }
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

inline error broken(std::string what) {
  return error(errc::malformed, "the PGM image cannot be read: " + std::move(what));
}

inline result<> read_text(scanner& in, std::size_t maximum, image& into) {
  const double scale = 255.0 / static_cast<double>(maximum);
  for (std::size_t i = 0; i < into.pixels.size(); ++i) {
    std::size_t value = 0;
    if (!in.number(maximum, value)) {
      if (in.rest().empty())
        return broken("it ends after " + std::to_string(i) + " of " +
                      std::to_string(into.pixels.size()) + " pixels");
      return broken("pixel " + std::to_string(i) + " is not a number from 0 to " +
                    std::to_string(maximum));
    }
    into.pixels[i] = static_cast<double>(value) * scale;
  }
  return {};
}

inline result<> read_binary(std::string_view bytes, std::size_t maximum, image& into) {
  const double scale = 255.0 / static_cast<double>(maximum);
  const std::size_t each = maximum > 255 ? 2 : 1;
  for (std::size_t i = 0; i < into.pixels.size(); ++i) {
    std::size_t value = static_cast<unsigned char>(bytes[i * each]);
    if (each == 2) value = value << 8 | static_cast<unsigned char>(bytes[i * 2 + 1]);
    if (value > maximum)
      return broken("pixel " + std::to_string(i) + " is brighter than the maximum, " +
                    std::to_string(maximum));
    into.pixels[i] = static_cast<double>(value) * scale;
  }
  return {};
}

}  // namespace detail

/// Fails with `errc::malformed` and a sentence that says what is wrong and where. Allocates no
/// more than a small multiple of the bytes that are really there.
[[nodiscard]] inline result<image> parse(byte_view bytes) {
  const std::string_view text = as_text(bytes);
  const bool plain = text.starts_with("P2");
  if (!plain && !text.starts_with("P5")) return detail::broken("it does not start with P2 or P5");
  detail::scanner in(text.substr(2));
  image parsed;
  std::size_t maximum = 0;
  if (!in.number(side_max, parsed.width) || parsed.width == 0)
    return detail::broken("its width is not a number from 1 to " + std::to_string(side_max));
  if (!in.number(side_max, parsed.height) || parsed.height == 0)
    return detail::broken("its height is not a number from 1 to " + std::to_string(side_max));
  if (!in.number(65535, maximum) || maximum == 0)
    return detail::broken("its maximum is not a number from 1 to 65535");
  const std::size_t count = parsed.width * parsed.height;
  if (count > pixels_max) return detail::broken("it has more than 2^28 pixels");
  if (!in.separator()) return detail::broken("it ends after its header");
  const std::size_t each = !plain && maximum > 255 ? 2 : 1;
  if (in.rest().size() < count * each)
    return detail::broken("it has " + std::to_string(in.rest().size()) + " bytes of pixels, but " +
                          std::to_string(parsed.width) + " x " + std::to_string(parsed.height) +
                          " pixels need at least " + std::to_string(count * each));
  parsed.pixels.resize(count);
  const auto read = plain ? detail::read_text(in, maximum, parsed)
                          : detail::read_binary(in.rest(), maximum, parsed);
  if (!read.ok()) return read.error();
  return parsed;
}

[[nodiscard]] inline std::string header(std::size_t width, std::size_t height) {
  return "P5\n" + std::to_string(width) + " " + std::to_string(height) + "\n255\n";
}

/// One byte per pixel, rounded, for a file that starts with `header`.
[[nodiscard]] inline byte_vector grey(const double* first, std::size_t count) {
  byte_vector out(count);
  for (std::size_t i = 0; i < count; ++i) {
    const double value = std::clamp(first[i], 0.0, 255.0);
    out[i] = static_cast<std::byte>(static_cast<unsigned>(value + 0.5));
  }
  return out;
}

}  // namespace p2pdvm::pgm
