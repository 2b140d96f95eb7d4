/// A doubly linked list of objects that carry their own links: adding, removing and moving allocate
/// nothing.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <cstddef>
#include <iterator>

namespace p2pdvm {

/// Base of what is listed. `Tag`, by default the listed class, tells the lists apart that one object
/// may be in at once.
template <class Tag>
class list_link {
 public:
  list_link() = default;
  list_link(const list_link&) = delete;
  list_link& operator=(const list_link&) = delete;
  [[nodiscard]] bool linked() const noexcept { return next_ != nullptr; }

 protected:
  ~list_link() = default;

 private:
  template <class T, class OtherTag>
  friend class intrusive_list;
  list_link* next_ = nullptr;
  list_link* previous_ = nullptr;
};

/// Owns nothing: an object leaves before it dies.
template <class T, class Tag = T>
class intrusive_list {
 public:
  intrusive_list() { head_.next_ = head_.previous_ = &head_; }
  intrusive_list(const intrusive_list&) = delete;
  intrusive_list& operator=(const intrusive_list&) = delete;

  [[nodiscard]] bool empty() const noexcept { return head_.next_ == &head_; }
  /// Precondition: not empty.
  [[nodiscard]] T& front() noexcept { return static_cast<T&>(*head_.next_); }
  /// The one behind an `item` of this list, or null.
  [[nodiscard]] const T* after(const T& item) const noexcept {
    const list_link<Tag>& link = item;
    return link.next_ == &head_ ? nullptr : static_cast<const T*>(link.next_);
  }
  void push_back(T& item) noexcept {
    list_link<Tag>& link = item;
    P2PDVM_ASSERT(!link.linked());
    link.next_ = &head_;
    link.previous_ = head_.previous_;
    head_.previous_->next_ = &link;
    head_.previous_ = &link;
  }
  /// No effect when it is in no list. Precondition: if it is in one, it is this one.
  static void erase(T& item) noexcept {
    list_link<Tag>& link = item;
    if (!link.linked()) return;
    link.previous_->next_ = link.next_;
    link.next_->previous_ = link.previous_;
    link.next_ = link.previous_ = nullptr;
  }

  template <class Item>
  class basic_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = Item*;
    using reference = Item&;
    explicit basic_iterator(list_link<Tag>* at) noexcept : at_(at) {}
    [[nodiscard]] Item& operator*() const noexcept { return static_cast<Item&>(*at_); }
    [[nodiscard]] Item* operator->() const noexcept { return &**this; }
    /// The object must still be in the list.
    basic_iterator& operator++() noexcept {
      at_ = at_->next_;
      return *this;
    }
    basic_iterator operator++(int) noexcept {
      const basic_iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const basic_iterator&, const basic_iterator&) = default;

   private:
    list_link<Tag>* at_;
  };
  using iterator = basic_iterator<T>;
  using const_iterator = basic_iterator<const T>;
  [[nodiscard]] iterator begin() noexcept { return iterator(head_.next_); }
  [[nodiscard]] iterator end() noexcept { return iterator(&head_); }
  [[nodiscard]] const_iterator begin() const noexcept { return const_iterator(head_.next_); }
  [[nodiscard]] const_iterator end() const noexcept { return const_iterator(head_.previous_->next_); }

 private:
  struct anchor : list_link<Tag> {};
  anchor head_;
};

}  // namespace p2pdvm
