/// `result<T>`: a value, or an error that the caller handles.
#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/base/errc.hpp>

#include <optional>
#include <string>
#include <utility>

namespace p2pdvm {

/// A code for programs and a sentence for people. The sentence names the thing
/// that failed and, where something can be done, what to do.
class error {
 public:
  error(errc code, std::string sentence) : code_(code), sentence_(std::move(sentence)) {}
  explicit error(errc code) : code_(code) {}
  [[nodiscard]] errc code() const noexcept { return code_; }
  [[nodiscard]] std::string message() const {
    return sentence_.empty() ? error_category().message(static_cast<int>(code_)) : sentence_;
  }
  /// For the places where an outcome becomes an exception.
  [[noreturn]] void raise() const { throw std::system_error(make_error_code(code_), sentence_); }

 private:
  errc code_;
  std::string sentence_;
};

/// `value()` throws `std::system_error` when there is none; `operator*` asserts.
template <class T = void>
class [[nodiscard]] result {
 public:
  result(T value) : value_(std::move(value)) {}  // NOLINT: implicit on purpose
  result(p2pdvm::error e) : error_(std::move(e)) {}  // NOLINT
  [[nodiscard]] bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const p2pdvm::error& error() const {
    P2PDVM_ASSERT(error_.has_value());
    return *error_;
  }
  [[nodiscard]] T& value() & {
    if (!ok()) error_->raise();
    return *value_;
  }
  [[nodiscard]] T&& value() && {
    if (!ok()) error_->raise();
    return std::move(*value_);
  }
  [[nodiscard]] T& operator*() & {
    P2PDVM_ASSERT(ok());
    return *value_;
  }
  [[nodiscard]] T&& operator*() && {
    P2PDVM_ASSERT(ok());
    return std::move(*value_);
  }
  [[nodiscard]] const T& operator*() const& {
    P2PDVM_ASSERT(ok());
    return *value_;
  }
  [[nodiscard]] T* operator->() {
    P2PDVM_ASSERT(ok());
    return &*value_;
  }
  [[nodiscard]] const T* operator->() const {
    P2PDVM_ASSERT(ok());
    return &*value_;
  }

 private:
  std::optional<T> value_;
  std::optional<p2pdvm::error> error_;
};

template <>
class [[nodiscard]] result<void> {
 public:
  result() = default;
  result(p2pdvm::error e) : error_(std::move(e)) {}  // NOLINT: implicit on purpose
  [[nodiscard]] bool ok() const noexcept { return !error_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const p2pdvm::error& error() const {
    P2PDVM_ASSERT(error_.has_value());
    return *error_;
  }
  void value() const {
    if (!ok()) error_->raise();
  }

 private:
  std::optional<p2pdvm::error> error_;
};

}  // namespace p2pdvm
