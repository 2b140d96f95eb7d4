#pragma once

#include <p2pdvm/host/copy_on_write_disk.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace p2pdvm::host {

namespace detail {

/// A file below, with the pages in memory that were written to.
class copied_file : public std::enable_shared_from_this<copied_file> {
 public:
  explicit copied_file(std::unique_ptr<file> below)
      : below_(std::move(below)), shown_(below_ ? below_->size() : 0), size_(shown_) {}

  /// From now on it stays, also when nobody has it open; until `let_go`.
  void keep() { self_ = shared_from_this(); }
  void let_go() noexcept { self_.reset(); }

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  result<> write(std::uint64_t offset, byte_view bytes) {
    keep();
    size_ = std::max(size_, offset + bytes.size());
    while (!bytes.empty()) {
      const std::uint64_t number = offset / page_bytes, within = offset % page_bytes;
      const std::size_t count = std::min<std::size_t>(bytes.size(), page_bytes - within);
      auto page = page_at(number);
      if (!page) return page.error();
      std::memcpy((*page)->data() + within, bytes.data(), count);
      offset += count;
      bytes = bytes.subspan(count);
    }
    return {};
  }

  result<std::size_t> read(std::uint64_t offset, byte_span into) {
    if (offset >= size_) return std::size_t{0};
    into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - offset)));
    if (pages_.empty()) {
      if (auto r = read_below(offset, into); !r) return r.error();
      return into.size();
    }
    for (std::size_t done = 0; done < into.size();) {
      const std::uint64_t at = offset + done;
      const std::uint64_t number = at / page_bytes, within = at % page_bytes;
      const std::size_t count = std::min<std::size_t>(into.size() - done, page_bytes - within);
      const auto page = pages_.find(number);
      if (page == pages_.end()) {
        if (auto r = read_below(at, into.subspan(done, count)); !r) return r.error();
      } else {
        std::memcpy(into.data() + done, page->second.data() + within, count);
      }
      done += count;
    }
    return into.size();
  }

  result<> truncate(std::uint64_t size) {
    keep();
    if (size < size_) {
      // What is cut off reads as zeros when the file grows again.
      shown_ = std::min(shown_, size);
      pages_.erase(pages_.lower_bound((size + page_bytes - 1) / page_bytes), pages_.end());
      const auto last = pages_.find(size / page_bytes);
      if (last != pages_.end()) {
        const auto from = static_cast<std::ptrdiff_t>(size % page_bytes);
        std::fill(last->second.begin() + from, last->second.end(), std::byte{0});
      }
    }
    size_ = size;
    return {};
  }

 private:
  static constexpr std::uint64_t page_bytes = 4096;

  /// Zeros where the file below has nothing, or nothing any more.
  result<> read_below(std::uint64_t offset, byte_span into) {
    const std::uint64_t there = offset < shown_ ? std::min<std::uint64_t>(into.size(), shown_ - offset) : 0;
    std::fill(into.begin() + static_cast<std::ptrdiff_t>(there), into.end(), std::byte{0});
    if (there == 0) return {};
    const auto got = below_->read(offset, into.first(static_cast<std::size_t>(there)));
    if (!got) return got.error();
    if (*got < there) return error(errc::io, "a file became shorter while it was read");
    return {};
  }

  result<byte_vector*> page_at(std::uint64_t number) {
    const auto found = pages_.find(number);
    if (found != pages_.end()) return &found->second;
    byte_vector page(page_bytes);
    if (auto r = read_below(number * page_bytes, page); !r) return r.error();
    return &pages_.emplace(number, std::move(page)).first->second;
  }

  std::shared_ptr<copied_file> self_;
  std::unique_ptr<file> below_;
  std::uint64_t shown_;  ///< of the file below
  std::uint64_t size_;
  std::map<std::uint64_t, byte_vector> pages_;
};

/// One opening of it. Nothing is durable, so nothing needs to be waited for.
class copied_file_handle final : public file {
 public:
  explicit copied_file_handle(std::shared_ptr<copied_file> what) : what_(std::move(what)) {}
  [[nodiscard]] std::uint64_t size() const override { return what_->size(); }
  result<> write(std::uint64_t offset, byte_view bytes) override { return what_->write(offset, bytes); }
  result<std::size_t> read(std::uint64_t offset, byte_span into) override {
    return what_->read(offset, into);
  }
  result<> truncate(std::uint64_t size) override { return what_->truncate(size); }
  /// There is no loop to call back from: whoever needs to know that something is durable does not
  /// write to such a disk.
  void sync(std::function<void(result<>)>) override {}

 private:
  std::shared_ptr<copied_file> what_;
};

}  // namespace detail

P2PDVM_DECL copy_on_write_disk::~copy_on_write_disk() {
  for (const auto& [path, f] : files_) {
    if (const auto kept = f.lock()) kept->let_go();
  }
}

P2PDVM_DECL std::shared_ptr<detail::copied_file> copy_on_write_disk::find(std::string_view path) const {
  const auto known = files_.find(path);
  return known == files_.end() ? nullptr : known->second.lock();
}

P2PDVM_DECL result<std::unique_ptr<file>> copy_on_write_disk::open(std::string_view path, bool create) {
  const auto handle = [](std::shared_ptr<detail::copied_file> f) {
    return std::unique_ptr<file>(std::make_unique<detail::copied_file_handle>(std::move(f)));
  };
  if (auto known = find(path)) return handle(std::move(known));
  std::unique_ptr<file> below;
  if (!removed_.contains(path)) {
    auto opened = below_.open(path, false);
    if (opened) {
      below = std::move(*opened);
    } else if (opened.error().code() != errc::not_found || !create) {
      return opened.error();
    }
  } else if (!create) {
    return error(errc::not_found, "there is no " + describe(path));
  }
  const bool fresh = below == nullptr;
  auto made = std::make_shared<detail::copied_file>(std::move(below));
  if (fresh) made->keep();
  files_.insert_or_assign(std::string(path), made);
  return handle(std::move(made));
}

P2PDVM_DECL result<std::vector<std::string>> copy_on_write_disk::list(std::string_view folder) {
  auto names = below_.list(folder);
  if (!names) return names;
  const std::string before = folder.empty() ? std::string() : std::string(folder) + "/";
  std::set<std::string> all;
  for (std::string& name : *names) {
    if (!removed_.contains(before + name)) all.insert(std::move(name));
  }
  for (const auto& [path, f] : files_) {
    if (!path.starts_with(before) || f.expired()) continue;
    const std::string rest = path.substr(before.size());
    all.insert(rest.substr(0, rest.find('/')));
  }
  return std::vector<std::string>(all.begin(), all.end());
}

P2PDVM_DECL result<> copy_on_write_disk::remove(std::string_view path) {
  if (const auto known = find(path)) known->let_go();
  files_.erase(std::string(path));
  removed_.emplace(path);
  return {};
}

P2PDVM_DECL result<> copy_on_write_disk::replace(std::string_view path, byte_view bytes) {
  const auto made = std::make_shared<detail::copied_file>(nullptr);
  if (auto r = made->write(0, bytes); !r) return r;
  made->keep();
  if (const auto known = find(path)) known->let_go();
  files_.insert_or_assign(std::string(path), made);
  return {};
}

P2PDVM_DECL result<byte_vector> copy_on_write_disk::read_all(std::string_view path, std::size_t bytes_max) {
  const auto known = find(path);
  if (!known && !removed_.contains(path)) return below_.read_all(path, bytes_max);
  if (!known) return error(errc::not_found, "there is no " + describe(path));
  if (known->size() > bytes_max) return error(errc::too_large, describe(path) + " is too large");
  byte_vector all(static_cast<std::size_t>(known->size()));
  if (const auto got = known->read(0, all); !got) return got.error();
  return all;
}

}  // namespace p2pdvm::host
