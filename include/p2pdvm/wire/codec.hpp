/// Bounded binary encoding: every protocol message is a struct that lists its fields once.
///
/// A message type has `template <class F> void fields(F&& f) { f(a); f(b); … }`. `encode` and
/// `decode` walk it. Numbers are little-endian of fixed width, `bool` and enums are one byte
/// (or the enum's own width), sizes are LEB128. Decoding allocates no more than a small
/// multiple of the bytes that are really there, whatever sizes they claim.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace p2pdvm::wire {

static_assert(std::endian::native == std::endian::little, "p2pdvm supports little-endian platforms");

/// What all writers share; `Derived` has `raw`.
template <class Derived>
class basic_writer {
 public:
  void size(std::uint64_t n) {
    for (; n >= 0x80; n >>= 7) self().raw(bytes_of(static_cast<std::byte>(n | 0x80)));
    self().raw(bytes_of(static_cast<std::byte>(n)));
  }
  /// A number that is small most of the time: as a size, with the sign in the lowest bit if it has one.
  template <class T>
  void number(const T& n) {
    if constexpr (!std::is_integral_v<T>) {
      number(n.value());
    } else if constexpr (std::is_signed_v<T>) {
      size(static_cast<std::uint64_t>(n) << 1 ^ static_cast<std::uint64_t>(std::int64_t{n} >> 63));
    } else {
      size(n);
    }
  }
  template <class T>
  void operator()(const T& value);

 private:
  Derived& self() noexcept { return static_cast<Derived&>(*this); }
};

/// Appends to a vector.
class writer : public basic_writer<writer> {
 public:
  explicit writer(byte_vector& out) : out_(out) {}
  void raw(byte_view bytes) { append(out_, bytes); }

 private:
  byte_vector& out_;
};

namespace detail {

/// How many bytes a writer would write.
class size_counter : public basic_writer<size_counter> {
 public:
  void raw(byte_view bytes) noexcept { bytes_ += bytes.size(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::size_t bytes_ = 0;
};

/// Writes where the caller has made sure that there is room.
class counted_writer : public basic_writer<counted_writer> {
 public:
  explicit counted_writer(std::byte* out) : out_(out) {}
  [[nodiscard]] std::byte* end() const noexcept { return out_; }
  void raw(byte_view bytes) noexcept {
    if (bytes.empty()) return;
    std::memcpy(out_, bytes.data(), bytes.size());
    out_ += bytes.size();
  }

 private:
  std::byte* out_;
};

}  // namespace detail

/// After the first failure every further read gives zeros and `ok()` is false.
class reader {
 public:
  explicit reader(byte_view in) : in_(in) {}
  /// A payload that is most of `whole` will share its memory; smaller ones are copied, as they would keep all of it.
  explicit reader(const payload& whole) : in_(whole.view()), whole_(&whole) {}

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return in_.size(); }
  void fail() noexcept {
    ok_ = false;
    in_ = {};
  }
  /// The next `count` bytes, or nothing and failure.
  byte_view raw(std::size_t count) {
    if (count > in_.size()) {
      fail();
      return {};
    }
    const byte_view part = in_.first(count);
    in_ = in_.subspan(count);
    return part;
  }
  payload bytes(std::size_t count) {
    const byte_view part = raw(count);
    if (whole_ == nullptr || count < whole_->size() / 2 || !ok_) return payload::copy_of(part);
    return whole_->slice(static_cast<std::size_t>(part.data() - whole_->data()), count);
  }
  /// A LEB128 number in its shortest form, at most `max`.
  std::uint64_t size(std::uint64_t max) {
    if (!in_.empty() && std::to_integer<std::uint64_t>(in_[0]) < std::min<std::uint64_t>(max, 0x7f) + 1) {
      const auto small = std::to_integer<std::uint64_t>(in_[0]);
      in_ = in_.subspan(1);
      return small;
    }
    return large_size(max);
  }
  /// What `basic_writer::number` has written.
  template <class T>
  void number(T& n) {
    if constexpr (!std::is_integral_v<T>) {
      typename T::rep rep = 0;
      number(rep);
      n = T(rep);
    } else if constexpr (std::is_signed_v<T>) {
      static_assert(sizeof(T) == sizeof(std::uint64_t));
      const std::uint64_t whole = size(UINT64_MAX);
      n = static_cast<T>(whole >> 1 ^ (~(whole & 1) + 1));
    } else {
      n = static_cast<T>(size(std::numeric_limits<T>::max()));
    }
  }
  /// Number of elements that follow; each takes at least one byte.
  std::size_t count() { return static_cast<std::size_t>(size(in_.size())); }

  template <class T>
  void operator()(T& value);

 private:
  [[gnu::noinline]] std::uint64_t large_size(std::uint64_t max) {
    constexpr std::size_t bytes_max = 10;
    const std::size_t there = std::min(in_.size(), bytes_max);
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < there; ++i) {
      const auto v = std::to_integer<std::uint64_t>(in_[i]);
      n |= (v & 0x7f) << (7 * i);
      if ((v & 0x80) != 0) continue;
      const bool overflow = i == bytes_max - 1 && v > 1;
      const bool padded = i > 0 && v == 0;
      if (overflow || padded || n > max) break;
      in_ = in_.subspan(i + 1);
      return n;
    }
    fail();
    return 0;
  }

  byte_view in_;
  const payload* whole_ = nullptr;
  bool ok_ = true;
};

namespace detail {

template <class T>
concept message = requires(T& t, writer& w) { t.fields(w); };
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_pair : std::false_type {};
template <class A, class B>
struct is_pair<std::pair<A, B>> : std::true_type {};
template <class T>
struct is_map : std::false_type {};
template <class K, class V>
struct is_map<std::map<K, V>> : std::true_type {};
template <class T>
struct is_set : std::false_type {};
template <class K>
struct is_set<std::set<K>> : std::true_type {};
template <class T>
struct is_variant : std::false_type {};
template <class... T>
struct is_variant<std::variant<T...>> : std::true_type {};
template <class T>
struct is_array : std::false_type {};
template <class T, std::size_t N>
struct is_array<std::array<T, N>> : std::true_type {
  /// Elements whose bytes in memory are their encoding.
  static constexpr bool raw =
      std::is_same_v<T, std::byte> || (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
};
template <class T>
inline constexpr bool unsupported = false;

template <class... T>
bool read_variant(reader& r, std::variant<T...>& value, std::size_t index) {
  std::size_t i = 0;
  return ((i++ == index ? (r(value.template emplace<T>()), true) : false) || ...);
}

}  // namespace detail

template <class Derived>
template <class T>
void basic_writer<Derived>::operator()(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    self().raw(bytes_of(static_cast<std::byte>(value ? 1 : 0)));
  } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> ||
                       std::is_same_v<T, std::byte>) {
    self().raw(bytes_of(value));
  } else if constexpr (detail::message<T>) {
    const_cast<T&>(value).fields(self());  // `fields` lists them; this visitor only reads
  } else if constexpr (std::is_same_v<T, std::string>) {
    size(value.size());
    self().raw(as_bytes(value));
  } else if constexpr (std::is_same_v<T, byte_vector>) {
    size(value.size());
    self().raw(value);
  } else if constexpr (std::is_same_v<T, payload>) {
    size(value.size());
    self().raw(value.view());
  } else if constexpr (detail::is_vector<T>::value || detail::is_map<T>::value ||
                       detail::is_set<T>::value) {
    size(value.size());
    for (const auto& element : value) (*this)(element);
  } else if constexpr (detail::is_array<T>::value) {
    if constexpr (detail::is_array<T>::raw) {
      self().raw(bytes_of(value));
    } else {
      for (const auto& element : value) (*this)(element);
    }
  } else if constexpr (detail::is_optional<T>::value) {
    (*this)(value.has_value());
    if (value) (*this)(*value);
  } else if constexpr (detail::is_pair<T>::value) {
    (*this)(value.first);
    (*this)(value.second);
  } else if constexpr (detail::is_variant<T>::value) {
    (*this)(static_cast<std::uint8_t>(value.index()));
    std::visit([this](const auto& v) { (*this)(v); }, value);
  } else if constexpr (requires { typename T::period; }) {  // a duration
    (*this)(static_cast<std::int64_t>(value.count()));
  } else if constexpr (std::is_same_v<T, std::monostate>) {
  } else {
    static_assert(detail::unsupported<T>, "give the type a fields() member");
  }
}

template <class T>
void reader::operator()(T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    const byte_view b = raw(1);
    if (ok_ && std::to_integer<unsigned>(b[0]) > 1) fail();
    value = ok_ && b[0] == std::byte{1};
  } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> ||
                       std::is_same_v<T, std::byte>) {
    const byte_view b = raw(sizeof(T));
    if (ok_) {
      std::memcpy(&value, b.data(), sizeof(T));
    } else {
      value = T{};
    }
  } else if constexpr (detail::message<T>) {
    value.fields(*this);
  } else if constexpr (std::is_same_v<T, std::string>) {
    value = std::string(as_text(raw(count())));
  } else if constexpr (std::is_same_v<T, byte_vector>) {
    value = to_vector(raw(count()));
  } else if constexpr (std::is_same_v<T, payload>) {
    value = bytes(count());
  } else if constexpr (detail::is_vector<T>::value) {
    constexpr std::size_t believed = 32;
    const std::size_t n = count();
    value.clear();
    value.reserve(std::min(n, believed));
    for (std::size_t i = 0; i < n && ok_; ++i) (*this)(value.emplace_back());
  } else if constexpr (detail::is_map<T>::value) {
    const std::size_t n = count();
    value.clear();
    for (std::size_t i = 0; i < n && ok_; ++i) {
      typename T::key_type key{};
      typename T::mapped_type mapped{};
      (*this)(key);
      (*this)(mapped);
      if (ok_ && !value.emplace(std::move(key), std::move(mapped)).second) fail();
    }
  } else if constexpr (detail::is_set<T>::value) {
    const std::size_t n = count();
    value.clear();
    for (std::size_t i = 0; i < n && ok_; ++i) {
      typename T::key_type key{};
      (*this)(key);
      if (ok_ && !value.insert(std::move(key)).second) fail();
    }
  } else if constexpr (detail::is_array<T>::value) {
    if constexpr (detail::is_array<T>::raw) {
      const byte_view b = raw(sizeof(T));
      value = T{};
      if (ok_) std::memcpy(value.data(), b.data(), sizeof(T));
    } else {
      for (auto& element : value) (*this)(element);
    }
  } else if constexpr (detail::is_optional<T>::value) {
    bool present = false;
    (*this)(present);
    if (present) {
      (*this)(value.emplace());
    } else {
      value.reset();
    }
  } else if constexpr (detail::is_pair<T>::value) {
    (*this)(value.first);
    (*this)(value.second);
  } else if constexpr (detail::is_variant<T>::value) {
    std::uint8_t index = 0;
    (*this)(index);
    if (ok_ && !detail::read_variant(*this, value, index)) fail();
  } else if constexpr (requires { typename T::period; }) {
    std::int64_t n = 0;
    (*this)(n);
    value = T(n);
  } else if constexpr (std::is_same_v<T, std::monostate>) {
  } else {
    static_assert(detail::unsupported<T>, "give the type a fields() member");
  }
}

/// The length of what `encode` gives.
template <class T>
[[nodiscard]] std::size_t encoded_bytes(const T& value) {
  detail::size_counter counter;
  counter(value);
  return counter.bytes();
}

template <class T>
[[nodiscard]] byte_vector encode(const T& value) {
  byte_vector out(encoded_bytes(value));
  detail::counted_writer w(out.data());
  w(value);
  return out;
}

/// The same in memory that a message can share.
template <class T>
[[nodiscard]] payload encode_shared(const T& value) {
  byte_span out;
  payload whole = payload::unwritten(encoded_bytes(value), out);
  detail::counted_writer w(out.data());
  w(value);
  return whole;
}

/// The encoding of something small that is never longer than it says, on the caller's stack.
template <class T>
class encoded_front {
 public:
  explicit encoded_front(const T& value) {
    detail::counted_writer w(bytes_.data());
    w(value);
    size_ = static_cast<std::size_t>(w.end() - bytes_.data());
    P2PDVM_ASSERT(size_ <= bytes_.size());
  }
  [[nodiscard]] byte_view view() const noexcept { return byte_view(bytes_).first(size_); }

 private:
  std::array<std::byte, T::encoded_bytes_max> bytes_;
  std::size_t size_ = 0;
};

/// Fails with `errc::malformed` on truncated or trailing bytes and out-of-range sizes.
/// Enums are not range-checked here: switch over them with a default.
template <class T>
[[nodiscard]] result<T> decode(reader r) {
  T value{};
  r(value);
  if (!r.ok() || r.remaining() != 0) return error(errc::malformed);
  return value;
}
template <class T>
[[nodiscard]] result<T> decode(byte_view bytes) {
  return decode<T>(reader(bytes));
}

}  // namespace p2pdvm::wire
