/// What handles stand for, and how they are told apart from what is none.
#pragma once

#include "failure.hpp"

#include <cstdint>
#include <utility>

namespace p2pdvm::c_mpi {

/// Counts who uses it: a datatype, say, that was freed while a message needs it.
class object {
 public:
  object(const object&) = delete;
  object& operator=(const object&) = delete;
  void retain() noexcept { ++users_; }
  void release() {
    if (--users_ == 0) delete this;
  }
  [[nodiscard]] int users() const noexcept { return users_; }

 protected:
  object() = default;
  virtual ~object() = default;

 private:
  int users_ = 1;
};

/// A share of an object.
template <class T>
class ref {
 public:
  ref() = default;
  explicit ref(T& of) noexcept : of_(&of) { of_->retain(); }
  ref(const ref& other) noexcept : of_(other.of_) {
    if (of_ != nullptr) of_->retain();
  }
  ref(ref&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
  ref& operator=(ref other) noexcept {
    std::swap(of_, other.of_);
    return *this;
  }
  ~ref() {
    if (of_ != nullptr) of_->release();
  }
  /// The share that a new object begins with.
  [[nodiscard]] static ref adopt(T* made) noexcept {
    ref r;
    r.of_ = made;
    return r;
  }
  /// Gives the share away, to a handle.
  [[nodiscard]] T* detach() noexcept { return std::exchange(of_, nullptr); }
  [[nodiscard]] T* get() const noexcept { return of_; }
  T* operator->() const noexcept { return of_; }
  T& operator*() const noexcept { return *of_; }
  explicit operator bool() const noexcept { return of_ != nullptr; }

 private:
  T* of_ = nullptr;
};

/// Handles below are values that the interface lays down.
inline constexpr std::uintptr_t predefined_handles = 0x1000;
template <class Handle>
[[nodiscard]] bool is_predefined(Handle handle) noexcept {
  return reinterpret_cast<std::uintptr_t>(handle) < predefined_handles;
}
template <class Handle>
[[nodiscard]] std::uintptr_t number_of(Handle handle) noexcept {
  return reinterpret_cast<std::uintptr_t>(handle);
}

}  // namespace p2pdvm::c_mpi
