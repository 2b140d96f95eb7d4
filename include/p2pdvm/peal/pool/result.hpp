/// What tasks give: as bytes while they travel, as values for the program.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/wire/archive.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace p2pdvm::pool {

namespace detail {

[[noreturn]] void refuse(const std::string& sentence);
[[noreturn]] void refuse_reading(const std::source_location& submitted);
[[noreturn]] void refuse_damaged();

/// The results of one bag, by the number of the task.
struct results {
  std::vector<payload> bytes;
  std::vector<std::uint8_t> known;
};

/// Copied as they are; others go through cereal.
template <class T>
inline constexpr bool plain = std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>;

/// What a task may give.
template <class T>
concept value = std::default_initializable<T> && std::copyable<T> && !std::is_pointer_v<T>;

template <value T>
[[nodiscard]] payload pack(const T& v) {
  if constexpr (plain<T>) {
    return payload::copy_of(bytes_of(v));
  } else {
    return payload(wire::save(v));
  }
}

template <value T>
[[nodiscard]] T unpack(byte_view bytes) {
  T v{};
  if constexpr (plain<T>) {
    if (bytes.size() != sizeof(T)) refuse_damaged();
    std::memcpy(&v, bytes.data(), sizeof(T));
  } else {
    if (!wire::load(bytes, v).ok()) refuse_damaged();
  }
  return v;
}

}  // namespace detail

/// The result of one task, once its bag has run. Copyable; an argument of later tasks, which then wait for it. It keeps the
/// results of its bag in memory, and does not survive a restart: what it gave belongs into the program's own state.
template <class T>
class ticket {
 public:
  ticket(std::shared_ptr<const detail::results> in, std::uint32_t task, const std::source_location& submitted)
      : in_(std::move(in)), task_(task), submitted_(submitted) {}
  /// Throws while the bag has not run.
  [[nodiscard]] T value() const {
    if (in_->known.size() <= task_ || in_->known[task_] == 0) detail::refuse_reading(submitted_);
    return detail::unpack<T>(in_->bytes[task_].view());
  }

  [[nodiscard]] const detail::results* in() const noexcept { return in_.get(); }
  [[nodiscard]] std::uint32_t task() const noexcept { return task_; }

 private:
  std::shared_ptr<const detail::results> in_;
  std::uint32_t task_;
  std::source_location submitted_;
};

/// The results of tasks that were submitted together, in the order of what they were submitted for. Otherwise as `ticket`.
template <class T>
class tickets {
 public:
  tickets(std::shared_ptr<const detail::results> in, std::uint32_t first, std::uint32_t count,
          const std::source_location& submitted)
      : in_(std::move(in)), first_(first), count_(count), submitted_(submitted) {}
  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  /// Precondition: `i` is less than `size()`.
  [[nodiscard]] ticket<T> operator[](std::size_t i) const {
    return ticket<T>(in_, first_ + static_cast<std::uint32_t>(i), submitted_);
  }
  /// All of them; throws while the bag has not run.
  [[nodiscard]] std::vector<T> values() const {
    std::vector<T> all;
    all.reserve(count_);
    for (std::size_t i = 0; i < count_; ++i) all.push_back((*this)[i].value());
    return all;
  }

 private:
  std::shared_ptr<const detail::results> in_;
  std::uint32_t first_, count_;
  std::source_location submitted_;
};

}  // namespace p2pdvm::pool
