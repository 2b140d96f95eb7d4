/// What a rank needs of the peer that runs it; implemented by the runtime.
#pragma once

#include <p2pdvm/async/driver_token.hpp>
#include <p2pdvm/async/ready_queue.hpp>
#include <p2pdvm/async/suspension.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/peal/snapshot.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace p2pdvm::peal {

/// Answer to a rank that arrives at a safe point.
enum class verdict {
  pass,  ///< go on
  wait,  ///< the cut's place is not known yet; the runtime calls `rank::end_wait`
  cut,   ///< capture here, for `rank_services::cut_epoch()`
};

/// One per hosted rank and incarnation. All members but `token` and `ready` are called with
/// the token held.
class rank_services {
 public:
  [[nodiscard]] virtual driver_token& token() = 0;
  [[nodiscard]] virtual ready_queue& ready() = 0;
  [[nodiscard]] virtual messaging::endpoint& endpoint() = 0;

  [[nodiscard]] virtual verdict arrive(std::uint64_t safe_point) = 0;
  /// For an adapter whose own traffic made all ranks agree, at this safe point, that epoch
  /// `wished` is wanted: all cut here, or all pass.
  [[nodiscard]] virtual verdict arrive_together(std::uint64_t safe_point, epoch_number wished) = 0;
  /// The newest epoch that this peer knows to be wished for, 0 when none is.
  [[nodiscard]] virtual epoch_number wished() const = 0;
  /// The epoch that a `cut` verdict is about.
  [[nodiscard]] virtual epoch_number cut_epoch() const = 0;
  virtual void captured(epoch_number epoch, snapshot taken) = 0;
  /// The newest epoch that has committed. While a rank is captured: the last one before the epoch of the capture.
  [[nodiscard]] virtual epoch_number committed_epoch() const { return epoch_number(); }
  /// The rank has been captured for good here and goes on elsewhere.
  [[nodiscard]] virtual bool frozen() const = 0;
  /// While a rank stands it may be captured at any moment by `rank::capture`.
  virtual void stand(bool standing) = 0;

  /// What the rank starts from; null in a fresh job.
  [[nodiscard]] virtual const snapshot* start() const = 0;
  [[nodiscard]] virtual result<payload> input(std::string_view name) = 0;
  [[nodiscard]] virtual result<std::string> option(std::string_view name) const = 0;
  /// Error, `invalid_argument`: the program declares no output of that name.
  [[nodiscard]] virtual result<> declares_output(std::string_view name) const = 0;
  [[nodiscard]] virtual time_point now() const = 0;
  /// Releases `gate` after `delay`.
  virtual void release_after(duration delay, suspension& gate) = 0;
  virtual void forget_release(suspension& gate) = 0;
  [[nodiscard]] virtual std::size_t peers() const = 0;
  /// To the peer that runs a rank, as far as it was measured; zero exactly when that is this peer.
  [[nodiscard]] virtual std::optional<duration> round_trip(rank_number to) const = 0;
  /// The lowest of the ranks that run on the same peer as this one, the same for whoever asks until the next rollback.
  [[nodiscard]] virtual std::uint32_t peer_of(rank_number of) const { return of.value(); }
  /// How many cores the processes of this computer share; 0: unknown.
  [[nodiscard]] virtual std::uint32_t cores() const { return 0; }
  /// What a rank that runs here calls the source file of this number; nothing when it does not, or not here.
  [[nodiscard]] virtual std::optional<std::string> file_name(rank_number of, std::uint16_t number) = 0;
  /// A sentence for whoever asks why things are done as they are.
  virtual void explain(std::string sentence) = 0;

 protected:
  ~rank_services() = default;
};

}  // namespace p2pdvm::peal
