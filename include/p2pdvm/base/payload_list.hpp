/// Long lists of payloads that have most of them in common.
#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/base/bytes.hpp>

#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace p2pdvm {

/// A sequence of payloads in pages, which never change: lists share them. To copy a list of a thousand payloads costs as much as to copy
/// some thirty, each of which may lie in memory that is in no cache. Safe to share between threads.
class payload_list {
 public:
  static constexpr std::size_t page_size = 32;

  payload_list() = default;
  payload_list(std::initializer_list<payload> all) : payload_list(std::vector<payload>(all)) {}
  payload_list(std::vector<payload> all) {  // NOLINT(google-explicit-constructor): it is the same sequence
    for (std::size_t begin = 0; begin < all.size(); begin += page_size) {
      const std::size_t end = begin + page_size < all.size() ? begin + page_size : all.size();
      add_page({std::make_move_iterator(all.begin() + static_cast<std::ptrdiff_t>(begin)),
                std::make_move_iterator(all.begin() + static_cast<std::ptrdiff_t>(end))});
    }
  }

  /// Precondition of both: the list consists of full pages so far.
  void add_page(std::vector<payload> page) {
    P2PDVM_ASSERT(size_ % page_size == 0 && !page.empty() && page.size() <= page_size);
    size_ += page.size();
    pages_.push_back(std::make_shared<const std::vector<payload>>(std::move(page)));
  }
  void share_page(const payload_list& other, std::size_t page) {
    P2PDVM_ASSERT(size_ % page_size == 0);
    pages_.push_back(other.pages_.at(page));
    size_ += pages_.back()->size();
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] const payload& operator[](std::size_t i) const { return (*pages_[i / page_size])[i % page_size]; }
  [[nodiscard]] const payload& front() const { return (*this)[0]; }

  class iterator {
   public:
    iterator(const payload_list& list, std::size_t at) : list_(&list), at_(at) {}
    const payload& operator*() const { return (*list_)[at_]; }
    iterator& operator++() {
      ++at_;
      return *this;
    }
    friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.at_ == b.at_; }

   private:
    const payload_list* list_;
    std::size_t at_;
  };
  [[nodiscard]] iterator begin() const { return {*this, 0}; }
  [[nodiscard]] iterator end() const { return {*this, size_}; }
  /// Of all payloads together.
  [[nodiscard]] std::size_t bytes() const {
    std::size_t all = 0;
    for (const payload& p : *this) all += p.size();
    return all;
  }

 private:
  std::vector<std::shared_ptr<const std::vector<payload>>> pages_;
  std::size_t size_ = 0;
};

}  // namespace p2pdvm
