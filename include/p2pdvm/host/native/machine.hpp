/// The computer that this process runs on, as `host::machine`.
#pragma once

#include <p2pdvm/host/native/clock.hpp>
#include <p2pdvm/host/native/disk.hpp>
#include <p2pdvm/host/native/lane.hpp>
#include <p2pdvm/host/native/network.hpp>
#include <p2pdvm/host/native/workers.hpp>

#include <string>

namespace p2pdvm::native {

struct options {
  /// Everything that this peer stores lies below it; made when first needed. Empty: this
  /// machine has no disk, and every disk operation fails with a sentence that says so.
  std::string data_folder;
};

/// All handlers run inside handlers of `io`, so whoever runs it drives this machine. At most
/// one thread at a time may run it or call the machine (`clock::now` excepted). Several
/// machines may share an `io_context`, which must outlive them.
class machine final : public host::machine {
 public:
  machine(asio::io_context& io, const options& how);
  ~machine() override;

  host::clock& clock() override { return clock_; }
  host::entropy& entropy() override { return entropy_; }
  host::network& network() override { return network_; }
  host::disk& disk() override { return disk_; }
  host::neighbourhood* neighbours() override { return &neighbours_; }
  host::workers* workers() override { return &workers_; }
  /// What a driver may look at in every turn; see `runtime::native_driver`.
  [[nodiscard]] poll_group& polled() noexcept { return polled_; }

 private:
  class system_entropy final : public host::entropy {
   public:
    void fill(byte_span out) override;
  };

  poll_group polled_;
  native::clock clock_;
  system_entropy entropy_;
  native::network network_;
  native::disk disk_;
  native::neighbourhood neighbours_;
  native::workers workers_;
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/machine.ipp>
#endif
