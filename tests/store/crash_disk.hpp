/// A disk in memory that knows what was synced, can fail any operation, and can crash.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/host/host.hpp>

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>

namespace crash {

using namespace p2pdvm;

/// A change that no sync has covered yet. Pending changes carry their global order.
struct change {
  std::uint64_t order = 0;
  bool truncates = false;
  std::uint64_t offset = 0;  ///< or the new size
  byte_vector bytes;
  bool poisoned = false;  ///< a sync of it failed: no later one makes it durable
};

inline void apply_change(byte_vector& to, const change& c) {
  if (c.truncates) {
    to.resize(c.offset);
    return;
  }
  if (to.size() < c.offset + c.bytes.size()) to.resize(c.offset + c.bytes.size());
  std::copy(c.bytes.begin(), c.bytes.end(), to.begin() + static_cast<std::ptrdiff_t>(c.offset));
}

struct node {
  byte_vector now;
  byte_vector durable;
  std::vector<change> pending;
  bool exists_durably = false;
};

enum class survival { nothing, everything, prefix, some, torn };

class disk final : public host::disk {
 public:
  std::map<std::string, std::shared_ptr<node>, std::less<>> files;
  /// Removed, but the removal is not durable: a crash may bring them back.
  std::map<std::string, std::pair<std::uint64_t, std::shared_ptr<node>>, std::less<>> undead;
  std::deque<std::function<void()>> syncs;
  std::uint64_t order = 0;
  std::uint64_t capacity = std::numeric_limits<std::uint64_t>::max();
  /// The operation with this number fails.
  std::uint64_t fail_at = 0;
  errc fail_code = errc::io;
  std::uint64_t operations = 0;
  std::uint64_t sync_calls = 0;
  /// Bytes of a file that the medium has lost: whoever reads one of them gets an error, always.
  struct loss {
    std::string path;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  std::optional<loss> lost;
  bool unreadable = false;  ///< for now every reading fails
  std::string unlisted;  ///< a path that `list` leaves out
  std::function<void()> after_change;

  class open_file;

  bool fails() { return ++operations == fail_at; }
  static error broken(errc code) { return error(code, "the disk says no"); }
  void changed() {
    if (after_change) after_change();
  }
  [[nodiscard]] std::uint64_t used() const {
    std::uint64_t sum = 0;
    for (const auto& [path, n] : files) sum += n->now.size();
    return sum;
  }

  result<std::unique_ptr<host::file>> open(std::string_view path, bool create) override;
  result<std::vector<std::string>> list(std::string_view folder) override {
    if (fails()) return broken(fail_code);
    std::vector<std::string> names;
    const std::string prefix = std::string(folder) + "/";
    for (const auto& [path, n] : files) {
      if (path.starts_with(prefix) && path != unlisted) names.push_back(path.substr(prefix.size()));
    }
    return names;
  }
  result<> remove(std::string_view path) override {
    if (fails()) return broken(fail_code);
    const auto it = files.find(path);
    if (it == files.end()) return error(errc::not_found);
    undead[it->first] = {++order, it->second};
    files.erase(it);
    changed();
    return {};
  }
  result<> replace(std::string_view path, byte_view bytes) override {
    const bool failing = fails();
    if (failing && operations % 2 == 0) return broken(fail_code);
    if (used() + bytes.size() > capacity) return broken(errc::no_space);
    auto fresh = std::make_shared<node>();
    fresh->now = fresh->durable = to_vector(bytes);
    fresh->exists_durably = true;
    changed();
    files[std::string(path)] = fresh;
    undead.erase(std::string(path));
    changed();
    return failing ? result<>(broken(fail_code)) : result<>();
  }
  result<byte_vector> read_all(std::string_view path, std::size_t bytes_max) override {
    if (fails()) return broken(fail_code);
    const auto it = files.find(path);
    if (it == files.end()) return error(errc::not_found);
    if (it->second->now.size() > bytes_max) return error(errc::too_large);
    return it->second->now;
  }
  [[nodiscard]] std::string describe(std::string_view path) const override {
    return "/fake/" + std::string(path);
  }

  /// Delivers up to `count` syncs.
  void run(std::size_t count = std::numeric_limits<std::size_t>::max()) {
    while (count-- > 0 && !syncs.empty()) {
      const auto next = std::move(syncs.front());
      syncs.pop_front();
      next();
    }
  }

  /// The disk after a power cut at this very moment.
  [[nodiscard]] std::unique_ptr<disk> crashed(random_generator& random, survival how) const {
    auto after = std::make_unique<disk>();
    after->order = order;
    const std::uint64_t last = random.below(order + 1);
    const auto survives = [&](std::uint64_t when) {
      switch (how) {
        case survival::nothing: return false;
        case survival::everything: return true;
        case survival::prefix: return when <= last;
        case survival::some:
        case survival::torn: break;
      }
      return random.chance(0.5);
    };
    const auto keep = [&](const std::string& path, const node& n) {
      if (!n.exists_durably && !survives(0)) return;
      auto copy = std::make_shared<node>();
      copy->now = n.durable;
      for (const change& c : n.pending) {
        if (survives(c.order)) {
          apply_change(copy->now, c);
        } else if (how == survival::torn && !c.truncates && !c.bytes.empty()) {
          change part = c;  // a middle part of the write reached the disk
          const std::size_t skip = static_cast<std::size_t>(random.below(c.bytes.size()));
          const auto count = static_cast<std::size_t>(random.below(c.bytes.size() - skip + 1));
          if (random.chance(0.5)) {
            part.bytes.resize(count);
          } else {
            part.offset += skip;
            part.bytes.assign(c.bytes.begin() + static_cast<std::ptrdiff_t>(skip),
                              c.bytes.begin() + static_cast<std::ptrdiff_t>(skip + count));
          }
          apply_change(copy->now, part);
        }
      }
      copy->durable = copy->now;
      copy->exists_durably = true;
      after->files[path] = copy;
    };
    for (const auto& [path, n] : files) keep(path, *n);
    for (const auto& [path, gone] : undead) {
      if (!survives(gone.first)) keep(path, *gone.second);
    }
    return after;
  }

  /// The same files, everything durable: for tests that damage a copy.
  [[nodiscard]] std::unique_ptr<disk> copy() const {
    random_generator none(0);
    return crashed(none, survival::everything);
  }
};

class disk::open_file final : public host::file {
 public:
  open_file(disk& d, std::string path, std::shared_ptr<node> n)
      : disk_(d), path_(std::move(path)), node_(std::move(n)) {}
  ~open_file() override { *alive_ = false; }

  [[nodiscard]] std::uint64_t size() const override { return node_->now.size(); }
  result<> write(std::uint64_t offset, byte_view bytes) override {
    const bool failing = disk_.fails();
    const std::uint64_t end = offset + bytes.size();
    const std::uint64_t growth = end > node_->now.size() ? end - node_->now.size() : 0;
    if (failing || disk_.used() + growth > disk_.capacity) {
      change_by(false, offset, bytes.first(bytes.size() / 2));
      return broken(failing ? disk_.fail_code : errc::no_space);
    }
    change_by(false, offset, bytes);
    return {};
  }
  result<std::size_t> read(std::uint64_t offset, byte_span into) override {
    if (disk_.fails() || disk_.unreadable) return broken(disk_.fail_code);
    const auto& gone = disk_.lost;
    if (gone && gone->path == path_ && offset < gone->end && gone->begin < offset + into.size()) {
      return broken(errc::corrupted);
    }
    if (offset >= node_->now.size()) return std::size_t{0};
    const std::size_t n = std::min<std::size_t>(into.size(), node_->now.size() - offset);
    std::memcpy(into.data(), node_->now.data() + offset, n);
    return n;
  }
  result<> truncate(std::uint64_t size) override {
    if (disk_.fails()) return broken(disk_.fail_code);
    const std::uint64_t now = node_->now.size();
    if (size > now && disk_.used() + (size - now) > disk_.capacity) return broken(errc::no_space);
    change_by(true, size, {});
    return {};
  }
  void sync(std::function<void(result<>)> done) override {
    ++disk_.sync_calls;
    const bool failing = disk_.fails();
    const std::uint64_t until = disk_.order;
    disk_.syncs.push_back([this, alive = alive_, failing, until, done = std::move(done)] {
      if (!*alive) return;
      if (failing) {
        for (change& c : node_->pending) c.poisoned = c.poisoned || c.order <= until;
      } else {
        settle(until);
      }
      disk_.changed();
      done(failing ? result<>(broken(disk_.fail_code)) : result<>());
    });
  }

 private:
  void change_by(bool truncates, std::uint64_t offset, byte_view bytes) {
    change c{++disk_.order, truncates, offset, to_vector(bytes), false};
    apply_change(node_->now, c);
    node_->pending.push_back(std::move(c));
    disk_.changed();
  }
  void settle(std::uint64_t until) {
    node_->exists_durably = true;
    std::vector<change> left;
    for (change& c : node_->pending) {
      if (c.order <= until && !c.poisoned) {
        apply_change(node_->durable, c);
      } else {
        left.push_back(std::move(c));
      }
    }
    node_->pending = std::move(left);
  }

  disk& disk_;
  std::string path_;
  std::shared_ptr<node> node_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

inline result<std::unique_ptr<host::file>> disk::open(std::string_view path, bool create) {
  if (fails()) return broken(fail_code);
  auto it = files.find(path);
  if (it == files.end()) {
    if (!create) return error(errc::not_found, std::string(path) + " is not there");
    it = files.emplace(std::string(path), std::make_shared<node>()).first;
  }
  return std::unique_ptr<host::file>(new open_file(*this, it->first, it->second));
}

}  // namespace crash
