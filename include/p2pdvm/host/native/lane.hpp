/// `host::lane` over two rings in a file of memory, whose descriptor goes through a Unix socket.
#pragma once

#include <p2pdvm/async/poll_group.hpp>
#include <p2pdvm/host/lane.hpp>

#include <asio/io_context.hpp>

#include <list>
#include <memory>

namespace p2pdvm::native {

namespace detail {
class lane_attempt;
}

/// The other process is known by its user, which the system tells, and by a name that nobody can guess.
class neighbourhood final : public host::neighbourhood {
 public:
  neighbourhood(asio::io_context& io, poll_group& polled);
  ~neighbourhood() override;
  result<host::lane_name> offer(done call) override;
  void join(const host::lane_name& name, done call) override;
  std::uint32_t cores() const override { return cores_; }

 private:
  std::shared_ptr<detail::lane_attempt> begin(done call);

  asio::io_context& io_;
  poll_group& polled_;
  std::list<std::weak_ptr<detail::lane_attempt>> attempts_;
  const std::uint32_t cores_;  ///< before the program binds its threads
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/lane.ipp>
#endif
