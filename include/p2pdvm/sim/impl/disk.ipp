#pragma once

#include <p2pdvm/sim/disk.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::sim {

/// A larger file is a bug of the caller.
inline constexpr std::uint64_t file_bytes_max = std::uint64_t{1} << 42;

class mounted_file final : public host::file {
 public:
  mounted_file(disk_image& disk, std::shared_ptr<detail::file_image> image, std::string path)
      : disk_(disk), life_(disk.life_), image_(std::move(image)), path_(std::move(path)) {}
  mounted_file(const mounted_file&) = delete;
  mounted_file& operator=(const mounted_file&) = delete;
  ~mounted_file() override = default;

  [[nodiscard]] std::uint64_t size() const override { return image_->size(); }
  result<> write(std::uint64_t offset, byte_view bytes) override {
    if (const auto ok = ready(disk_operation::write, "writing"); !ok) return ok;
    P2PDVM_ASSERT(offset <= file_bytes_max);
    const std::uint64_t end = offset + bytes.size();
    const std::uint64_t end_max = end > image_->size() ? image_->size() + disk_.free() : end;
    if (end > end_max) {
      if (end_max > offset) image_->write(offset, bytes.first(partial(end_max - offset)));
      return disk_.no_space("writing", path_);
    }
    image_->write(offset, bytes);
    return {};
  }
  result<std::size_t> read(std::uint64_t offset, byte_span into) override {
    if (const auto ok = ready(disk_operation::read, "reading"); !ok) return ok.error();
    return image_->read(offset, into);
  }
  result<> truncate(std::uint64_t size) override {
    if (const auto ok = ready(disk_operation::write, "resizing"); !ok) return ok;
    P2PDVM_ASSERT(size <= file_bytes_max);
    if (size > image_->size() && size - image_->size() > disk_.free())
      return disk_.no_space("resizing", path_);
    image_->resize(size);
    return {};
  }
  void sync(std::function<void(result<>)> done) override {
    if (disk_.life_ != life_) return;
    auto outcome = ready(disk_operation::sync, "syncing");
    const auto spread =
        static_cast<std::uint64_t>((disk_.sync_time_max - disk_.sync_time_min).count());
    const auto extra = duration(static_cast<std::int64_t>(disk_.random_.below(spread + 1)));
    const time_point now = disk_.now_();
    synced_at_ = std::max(synced_at_, now + disk_.sync_time_min + extra);  // one after another
    disk_.later_(synced_at_ - now,
                 [image = image_, end = image_->changes(), outcome = std::move(outcome),
                  done = std::move(done), alive = std::weak_ptr<bool>(alive_)] {
                   image->settle(end, outcome.ok());
                   if (!alive.expired()) done(outcome);
                 });
  }

 private:
  [[nodiscard]] result<> ready(disk_operation kind, const char* doing) {
    return disk_.attempt(life_, kind, doing, path_);
  }
  /// Some of what would fit, as a real file system leaves it.
  [[nodiscard]] std::size_t partial(std::uint64_t room) {
    return static_cast<std::size_t>(disk_.random_.below(room + 1));
  }

  disk_image& disk_;
  std::uint64_t life_;
  std::shared_ptr<detail::file_image> image_;
  std::string path_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  time_point synced_at_;  ///< when the last sync so far ends
};

class mounted_disk final : public host::disk {
 public:
  explicit mounted_disk(disk_image& image) : image_(image), life_(image.life_) {}

  result<std::unique_ptr<host::file>> open(std::string_view path, bool create) override {
    if (const auto ok = ready(disk_operation::open, "opening", path); !ok) return ok.error();
    auto found = image_.files_.find(path);
    if (found == image_.files_.end()) {
      if (!create) return missing(path);
      found = image_.files_.emplace(path, std::make_shared<detail::file_image>()).first;
    }
    return std::unique_ptr<host::file>(
        std::make_unique<mounted_file>(image_, found->second, std::string(path)));
  }
  result<std::vector<std::string>> list(std::string_view folder) override {
    std::vector<std::string> names;
    if (life_ != image_.life_) return names;
    const std::string prefix = folder.empty() ? "" : std::string(folder) + "/";
    for (auto i = image_.files_.lower_bound(prefix);
         i != image_.files_.end() && i->first.starts_with(prefix); ++i) {
      std::string name = i->first.substr(prefix.size());
      name.resize(std::min(name.size(), name.find('/')));
      names.push_back(std::move(name));
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
  }
  result<> remove(std::string_view path) override {
    if (const auto ok = ready(disk_operation::remove, "removing", path); !ok) return ok;
    const auto found = image_.files_.find(path);
    if (found == image_.files_.end()) return missing(path);
    const time_point now = image_.now_();
    auto& removed = image_.removed_;
    while (!removed.empty() && removed.front().when + disk_image::journal_interval < now)
      removed.pop_front();
    removed.push_back({found->first, found->second, now});
    image_.files_.erase(found);
    return {};
  }
  result<> replace(std::string_view path, byte_view bytes) override {
    if (const auto ok = ready(disk_operation::replace, "writing", path); !ok) return ok;
    if (bytes.size() > image_.free()) return image_.no_space("writing", path);
    auto fresh = std::make_shared<detail::file_image>();
    fresh->write(0, bytes);
    fresh->settle_all();
    fresh->named = true;
    image_.files_.insert_or_assign(std::string(path), std::move(fresh));
    std::erase_if(image_.removed_, [path](const auto& r) { return r.path == path; });
    return {};
  }
  result<byte_vector> read_all(std::string_view path, std::size_t bytes_max) override {
    if (const auto ok = ready(disk_operation::read, "reading", path); !ok) return ok.error();
    const auto found = image_.files_.find(path);
    if (found == image_.files_.end()) return missing(path);
    const std::uint64_t size = found->second->size();
    if (size > bytes_max)
      return error(errc::too_large, describe(path) + " has " + std::to_string(size) +
                                        " bytes; at most " + std::to_string(bytes_max) +
                                        " are allowed");
    byte_vector bytes(static_cast<std::size_t>(size));
    static_cast<void>(found->second->read(0, bytes));
    return bytes;
  }
  [[nodiscard]] std::string describe(std::string_view path) const override {
    return image_.name(path);
  }

 private:
  [[nodiscard]] result<> ready(disk_operation kind, const char* doing, std::string_view path) {
    for (std::size_t begin = 0, end = 0; end < path.size(); begin = end + 1) {
      end = std::min(path.find('/', begin), path.size());
      const std::string_view part = path.substr(begin, end - begin);
      if (part.empty() || part == "." || part == ".." || end + 1 == path.size())
        return error(errc::invalid_argument,
                     "'" + std::string(path) + "' is not a path inside the data folder");
    }
    return image_.attempt(life_, kind, doing, path);
  }
  [[nodiscard]] error missing(std::string_view path) const {
    return error(errc::not_found, describe(path) + " does not exist");
  }

  disk_image& image_;
  std::uint64_t life_;
};

P2PDVM_DECL disk_image::disk_image(std::string machine_name, std::uint64_t bytes_max,
                                   std::uint64_t seed, detail::run_later later)
    : machine_name_(std::move(machine_name)),
      bytes_max_(bytes_max),
      random_(seed),
      later_(std::move(later)),
      now_([] { return time_point(); }) {}

P2PDVM_DECL void disk_image::fail(disk_operation kind, std::uint64_t nth, errc code) {
  P2PDVM_ASSERT(nth > 0);
  faults_[{kind, counts_[static_cast<std::size_t>(kind)] + nth}] = code;
}

P2PDVM_DECL result<> disk_image::attempt(std::uint64_t life, disk_operation kind,
                                         const char* doing, std::string_view path) {
  const auto what = [&] { return std::string("error while ") + doing + " " + name(path); };
  if (life != life_) return error(errc::io, what() + ": the machine has crashed");
  const std::uint64_t count = ++counts_[static_cast<std::size_t>(kind)];
  const auto fault = faults_.find({kind, count});
  if (fault == faults_.end()) return {};
  const errc code = fault->second;
  faults_.erase(fault);
  if (code == errc::no_space) return no_space(doing, path);
  return error(code, what() + ": Input/output error");
}

P2PDVM_DECL error disk_image::no_space(const char* doing, std::string_view path) const {
  return error(errc::no_space, std::string("disk full while ") + doing + " " + name(path) +
                                   "; free some space there and start again");
}

P2PDVM_DECL std::string disk_image::name(std::string_view path) const {
  return machine_name_ + ":/" + std::string(path);
}

P2PDVM_DECL std::uint64_t disk_image::used() const {
  std::uint64_t total = 0;
  for (const auto& [path, image] : files_) total += image->size();
  return total;
}

P2PDVM_DECL std::uint64_t disk_image::free() const {
  const std::uint64_t total = used();
  return total < bytes_max_ ? bytes_max_ - total : 0;
}

P2PDVM_DECL result<> disk_image::rot(std::string_view path, std::uint64_t byte, unsigned bit) {
  const auto found = files_.find(path);
  if (found == files_.end() || !found->second->flip(byte, bit))
    return error(errc::not_found, name(path) + " has no byte " + std::to_string(byte));
  return {};
}

P2PDVM_DECL result<> disk_image::rot(std::string_view path) {
  const auto found = files_.find(path);
  if (found == files_.end()) return error(errc::not_found, name(path) + " does not exist");
  if (found->second->size() == 0) return {};
  const std::uint64_t byte = random_.below(found->second->size());
  return rot(path, byte, static_cast<unsigned>(random_.below(8)));
}

P2PDVM_DECL void disk_image::rot() {
  std::size_t pages = 0;
  for (const auto& [path, image] : files_) pages += image->pages();
  if (pages == 0) return;
  std::size_t n = static_cast<std::size_t>(random_.below(pages));
  const std::uint64_t byte = random_.below(1u << 20);
  const auto bit = static_cast<unsigned>(random_.below(8));
  for (auto& [path, image] : files_) {
    if (image->flip_in_page(n, byte, bit) || n < image->pages()) return;
    n -= image->pages();
  }
}

P2PDVM_DECL std::unique_ptr<host::disk> disk_image::mount() {
  return std::make_unique<mounted_disk>(*this);
}

P2PDVM_DECL void disk_image::replace() {
  files_.clear();
  removed_.clear();
}

P2PDVM_DECL void disk_image::crash(time_point now) {
  ++life_;
  for (auto i = files_.begin(); i != files_.end();) {
    i->second->crash(random_);
    const bool forgotten = !i->second->named && random_.chance(0.5);
    i->second->named = true;
    i = forgotten ? files_.erase(i) : std::next(i);
  }
  for (removed_file& r : removed_) {
    const bool back = r.when + journal_interval >= now && random_.chance(0.5);
    if (!back || !r.image->named || files_.contains(r.path)) continue;
    r.image->crash(random_);
    files_.emplace(r.path, r.image);
  }
  removed_.clear();
}

}  // namespace p2pdvm::sim
