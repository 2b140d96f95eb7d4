/// Attributes: what programs and libraries attach to communicators and datatypes, by keys.
#pragma once

#include "object.hpp"

#include <vector>

namespace p2pdvm::c_mpi {

/// A key and its functions. Lives as long as attributes of it do.
class keyval final : public object {
 public:
  enum class of { communicator, datatype };
  keyval(of what, void (*copy_function)(), void (*delete_function)(), void* state);
  of owner;
  void (*copy)();    ///< cast to what it is, or one of the values that stand for a function
  void (*remove)();
  void* extra;
  const int number;
  bool freed = false;  ///< by the program, which may still name it while attributes have it

 private:
  ~keyval() override;
};

/// Of one object, in the order in which they came.
class attribute_list {
 public:
  struct entry {
    ref<keyval> key;
    void* value;
  };
  [[nodiscard]] entry* find(const keyval& key) {
    for (entry& e : entries_) {
      if (e.key.get() == &key) return &e;
    }
    return nullptr;
  }
  std::vector<entry>& entries() noexcept { return entries_; }

 private:
  std::vector<entry> entries_;
};

/// Throws for what is no key of such objects.
[[nodiscard]] keyval& keyval_of(int number, keyval::of owner);

/// Set, delete and copy as the standard says, with the program's functions. `handle` is passed to them.
template <class Handle>
void set_attribute(attribute_list& list, Handle handle, keyval& key, void* value);
template <class Handle>
void delete_attribute(attribute_list& list, Handle handle, keyval& key);
/// The last set first.
template <class Handle>
void delete_attributes(attribute_list& list, Handle handle);
template <class Handle>
void copy_attributes(attribute_list& from, Handle old, attribute_list& to);

}  // namespace p2pdvm::c_mpi
