/// What a driver looks at itself in every turn, instead of asking the system whether something came.
#pragma once

#include <p2pdvm/async/fences.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace p2pdvm {

/// All members are called with the driver token held.
class pollable {
 public:
  /// Looks once, and handles what is there; whether there was something.
  virtual bool poll() = 0;
  /// The driver is about to sleep in the reactor: from now on what comes must wake it. Whether that holds only after a
  /// `fence_across`.
  [[nodiscard]] virtual bool doze() { return false; }
  /// After `doze`, and the fence: false when something has come before it would have woken the driver.
  [[nodiscard]] virtual bool dozes() { return true; }
  /// The driver looks again by itself. Also called when `doze` was not.
  virtual void wake() {}

 protected:
  ~pollable() = default;
};

class poll_group {
 public:
  poll_group() = default;
  poll_group(const poll_group&) = delete;
  poll_group& operator=(const poll_group&) = delete;

  void add(pollable& p) { members_.push_back(&p); }
  /// Also from inside of `poll`. No effect when it is not in the group.
  void remove(pollable& p) {
    std::replace(members_.begin(), members_.end(), &p, static_cast<pollable*>(nullptr));
    removed_ = true;
  }

  /// Every member once; whether one of them had something.
  bool poll() {
    bool found = false;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i] != nullptr && members_[i]->poll()) found = true;
    }
    if (removed_) forget_removed();
    return found;
  }
  /// From now on what comes wakes the driver; false when something is there already.
  [[nodiscard]] bool doze() {
    bool fence = false;
    for (pollable* p : members_) {
      if (p != nullptr && p->doze()) fence = true;
    }
    // One for all of them: it disturbs every process that takes part.
    if (fence) fence_across();
    bool sleeps = true;
    for (std::size_t i = 0; i < members_.size() && sleeps; ++i) {
      if (members_[i] != nullptr) sleeps = members_[i]->dozes();
    }
    return sleeps;
  }
  void wake() {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i] != nullptr) members_[i]->wake();
    }
  }
  /// While a driver polls the group; without one its members have to come by through the reactor.
  [[nodiscard]] bool driven() const noexcept { return driven_; }
  void drive(bool driven) noexcept { driven_ = driven; }

 private:
  void forget_removed() {
    std::erase(members_, nullptr);
    removed_ = false;
  }

  std::vector<pollable*> members_;
  bool removed_ = false;
  bool driven_ = false;
};

}  // namespace p2pdvm
