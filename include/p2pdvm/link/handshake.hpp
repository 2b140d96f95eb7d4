/// The handshake that opens a connection: who is there, and with which keys and cipher we talk.
///
/// On the wire, in both directions: a preamble (magic, protocol version, Noise pattern), then
/// Noise messages with a 2-byte length. The prologue is the swarm and the version, so that
/// peers of different swarms cannot get past it. Noise runs over ChaChaPoly; the cipher of the
/// records is agreed on inside its encrypted payloads.
///
/// With IK the first message may be a replay: an initiator is really there only once its first
/// record has been opened. The owner must not act on a responder's result before that.
#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/link/noise.hpp>
#include <p2pdvm/link/record.hpp>

#include <optional>

namespace p2pdvm::link {

/// Which overlay a peer belongs to; peers of different swarms cannot talk.
using swarm_id = opaque_id<struct swarm_tag, 32>;

inline constexpr std::uint16_t protocol_version = 3;
/// One Noise message with its payload.
inline constexpr std::size_t handshake_frame_bytes_max = 512;
inline constexpr std::size_t handshake_preamble_bytes = 7;

struct handshake_options {
  swarm_id swarm;
  /// Drawn at random by each process: tells a restarted peer from the one before.
  std::uint64_t instance = 0;
  /// Where this peer listens; 0 when it does not.
  std::uint16_t port = 0;
  /// Fresh for every handshake.
  crypto::secret_key ephemeral;
  /// Initiator only: the remote's key, for IK instead of XX. Also what is expected.
  std::optional<public_key> remote;
  /// Who must answer; anyone of the swarm when absent.
  std::optional<node_id> expected;
  /// Whether AES-256-GCM may be used where both sides have it in hardware.
  bool allow_aes = true;
};

/// An authenticated remote, and the ciphers to talk to it.
struct handshake_result {
  public_key key;
  node_id id;
  std::uint64_t instance = 0;
  std::uint16_t port = 0;
  noise::cipher cipher = noise::cipher::chacha20_poly1305;
  record_sender sender;
  record_receiver receiver;
};

/// One side of the handshake, without input or output of its own.
class handshake {
 public:
  /// `self` must outlive the handshake.
  handshake(noise::role side, const crypto::identity& self, handshake_options options,
            time_point now);

  /// Bytes to write to the remote now, also after `feed` has failed: the remote learns from them
  /// which version this side speaks.
  [[nodiscard]] byte_vector take_output();
  /// Consumes from the front of `input`; what remains once `finished()` belongs to the records.
  /// Errors: `malformed`, `too_large`, `unsupported_version`, `authentication`, `refused`.
  [[nodiscard]] result<> feed(byte_view& input);
  [[nodiscard]] bool finished() const noexcept { return result_.has_value(); }
  /// Precondition: `finished()`.
  [[nodiscard]] handshake_result take_result();
  /// The owner gives up at this time.
  [[nodiscard]] time_point deadline() const noexcept { return deadline_; }
  [[nodiscard]] noise::role side() const noexcept { return side_; }
  /// Who must answer, as far as that was given.
  [[nodiscard]] const std::optional<node_id>& expected() const noexcept {
    return options_.expected;
  }

 private:
  void start(noise::pattern which);
  void write_preamble(noise::pattern which);
  [[nodiscard]] result<> write_message();
  [[nodiscard]] result<> on_preamble(byte_view bytes);
  [[nodiscard]] result<> on_message(byte_view message);
  [[nodiscard]] result<> on_introduction(byte_view payload);
  [[nodiscard]] result<bool> gather(byte_view& input, std::size_t size);
  void finish();

  noise::role side_;
  const crypto::identity& self_;
  handshake_options options_;
  time_point deadline_;
  std::optional<noise::handshake_state> noise_;
  noise::pattern which_ = noise::pattern::xx;
  byte_vector partial_;
  byte_vector output_;
  std::size_t received_ = 0;
  bool greeted_ = false;
  bool use_aes_ = false;
  std::optional<error> failure_;
  public_key remote_key_;
  std::uint64_t remote_instance_ = 0;
  std::uint16_t remote_port_ = 0;
  std::optional<handshake_result> result_;
};

}  // namespace p2pdvm::link

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/link/impl/handshake.ipp>
#endif
