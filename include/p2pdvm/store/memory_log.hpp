/// A chunk log in memory: for receipts from memory and for jobs inside one process.
#pragma once

#include <p2pdvm/host/host.hpp>
#include <p2pdvm/store/chunk_log.hpp>

#include <limits>
#include <map>
#include <set>
#include <unordered_map>

namespace p2pdvm::store {

/// The semantics of `segment_log`, except that nothing survives the object.
class memory_log final : public chunk_log {
 public:
  /// `clock` must outlive the log. The quota counts sealed bytes and values; like a disk's
  /// reserve, it never stands in the way of dropping a pin.
  explicit memory_log(host::clock& clock,
                      std::uint64_t quota_bytes = std::numeric_limits<std::uint64_t>::max())
      : clock_(clock), quota_bytes_(quota_bytes) {}
  memory_log(const memory_log&) = delete;
  memory_log& operator=(const memory_log&) = delete;
  ~memory_log() override;

  [[nodiscard]] bool contains(const chunk_id& id) const override;
  result<> put(const chunk_id& id, byte_view sealed) override { return put_shared(id, payload::copy_of(sealed)); }
  result<> put_shared(const chunk_id& id, const payload& sealed) override;
  result<payload> get(const chunk_id& id) override;
  result<> add_pin(const pin& p, const std::vector<chunk_id>& ids) override;
  result<> drop_pin(const pin& p) override;
  [[nodiscard]] std::vector<pin> pins() const override;
  [[nodiscard]] std::vector<chunk_id> pinned(const pin& p) const override;
  result<> put_value(std::string_view name, byte_view value) override;
  result<byte_vector> get_value(std::string_view name) override;
  void sync(std::function<void(result<>)> done) override;
  [[nodiscard]] std::uint64_t live_bytes() const override { return live_bytes_; }

 private:
  struct entry {
    payload sealed;
    std::uint32_t pins = 0;
  };
  result<> claim(std::uint64_t bytes, std::uint64_t freed) const;
  void complete();

  host::clock& clock_;
  std::uint64_t quota_bytes_;
  std::unordered_map<chunk_id, entry> chunks_;
  std::map<pin, std::set<chunk_id>> pins_;
  std::map<std::string, byte_vector, std::less<>> values_;
  std::uint64_t live_bytes_ = 0;
  std::uint64_t value_bytes_ = 0;
  std::vector<std::function<void(result<>)>> waiting_;
  host::timer_id timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/memory_log.ipp>
#endif
