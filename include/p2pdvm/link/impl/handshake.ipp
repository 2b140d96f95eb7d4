#pragma once

#include <p2pdvm/link/handshake.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::link {

namespace detail {

inline constexpr std::string_view handshake_magic = "p2pd";
inline constexpr std::uint8_t introduction_has_aes = 1;

/// What each side says about itself, encrypted.
struct introduction {
  public_key key;
  std::uint64_t instance = 0;
  std::uint16_t port = 0;
  std::uint8_t ciphers = 0;
  template <class F>
  void fields(F&& f) {
    f(key), f(instance), f(port), f(ciphers);
  }
};

inline byte_vector handshake_prologue(const swarm_id& swarm) {
  byte_vector prologue = to_vector(as_bytes("p2pdvm"));
  append(prologue, bytes_of(protocol_version));
  append(prologue, swarm.bytes());
  return prologue;
}

}  // namespace detail

P2PDVM_DECL handshake::handshake(noise::role side, const crypto::identity& self,
                                 handshake_options options, time_point now)
    : side_(side),
      self_(self),
      options_(std::move(options)),
      deadline_(now + limits::handshake_time_max) {
  if (side == noise::role::responder) return;
  if (options_.remote) options_.expected = crypto::node_id_of(*options_.remote);
  start(options_.remote ? noise::pattern::ik : noise::pattern::xx);
  if (failure_) return;
  write_preamble(which_);
  if (auto wrote = write_message(); !wrote) failure_ = wrote.error();
}

P2PDVM_DECL void handshake::start(noise::pattern which) {
  which_ = which;
  std::optional<crypto::exchange_key> remote;
  if (options_.remote) {
    auto converted = crypto::exchange_key_of(*options_.remote);
    if (!converted) {
      failure_ = converted.error();
      return;
    }
    remote = *converted;
  }
  noise_.emplace(which, side_, noise::cipher::chacha20_poly1305,
                 detail::handshake_prologue(options_.swarm), self_.exchange_secret(),
                 options_.ephemeral, remote);
}

P2PDVM_DECL void handshake::write_preamble(noise::pattern which) {
  append(output_, as_bytes(detail::handshake_magic));
  append(output_, bytes_of(protocol_version));
  output_.push_back(static_cast<std::byte>(which));
}

P2PDVM_DECL result<> handshake::write_message() {
  // The first message of XX is not encrypted, so it says nothing.
  const bool secret = which_ == noise::pattern::ik || greeted_;
  detail::introduction mine;
  mine.key = self_.key();
  mine.instance = options_.instance;
  mine.port = options_.port;
  if (options_.allow_aes && crypto::aes_available()) mine.ciphers = detail::introduction_has_aes;
  auto message = noise_->write_message(secret ? wire::encode(mine) : byte_vector());
  if (!message) return message.error();
  P2PDVM_ASSERT(message->size() <= handshake_frame_bytes_max);
  append(output_, bytes_of(static_cast<std::uint16_t>(message->size())));
  append(output_, *message);
  return {};
}

P2PDVM_DECL byte_vector handshake::take_output() { return std::exchange(output_, {}); }

P2PDVM_DECL handshake_result handshake::take_result() {
  P2PDVM_ASSERT(finished());
  return std::move(*result_);
}

/// True once `partial_` holds `size` bytes.
P2PDVM_DECL result<bool> handshake::gather(byte_view& input, std::size_t size) {
  const std::size_t take = std::min(size - partial_.size(), input.size());
  received_ += take;
  if (received_ > limits::handshake_bytes_max)
    return error(errc::too_large, "the remote sends more than a handshake may take");
  append(partial_, input.first(take));
  input = input.subspan(take);
  return partial_.size() == size;
}

P2PDVM_DECL result<> handshake::feed(byte_view& input) {
  while (!failure_ && !finished()) {
    std::size_t size = handshake_preamble_bytes;
    if (greeted_) {
      size = 2;
      if (partial_.size() >= 2) {
        std::uint16_t frame = 0;
        std::memcpy(&frame, partial_.data(), 2);
        size += frame;
      }
    }
    auto whole = gather(input, size);
    if (!whole) {
      failure_ = whole.error();
    } else if (!*whole) {
      return {};
    } else if (greeted_ && size == 2) {
      std::uint16_t frame = 0;
      std::memcpy(&frame, partial_.data(), 2);
      if (frame == 0 || frame > handshake_frame_bytes_max)
        failure_ = error(errc::malformed, "a handshake message's length is out of range");
    } else {
      const byte_vector bytes = std::exchange(partial_, {});
      auto done = greeted_ ? on_message(byte_view(bytes).subspan(2)) : on_preamble(bytes);
      if (!done) failure_ = done.error();
    }
  }
  if (failure_) return *failure_;
  return {};
}

P2PDVM_DECL result<> handshake::on_preamble(byte_view bytes) {
  if (!equal(bytes.first(4), as_bytes(detail::handshake_magic)))
    return error(errc::malformed, "the other side of the connection does not speak p2pdvm");
  std::uint16_t version = 0;
  std::memcpy(&version, bytes.data() + 4, sizeof version);
  const auto which = static_cast<noise::pattern>(bytes[6]);
  const bool known = which == noise::pattern::xx || which == noise::pattern::ik;
  if (side_ == noise::role::responder)
    write_preamble(known && version == protocol_version ? which : noise::pattern::xx);
  if (version != protocol_version)
    return error(errc::unsupported_version,
                 "the remote peer speaks protocol version " + std::to_string(version) +
                     " and this one version " + std::to_string(protocol_version) +
                     "; install the same release of p2pdvm on both machines");
  if (!known || (side_ == noise::role::initiator && which != which_))
    return error(errc::malformed, "the remote peer asks for an unknown kind of handshake");
  greeted_ = true;
  if (side_ == noise::role::responder) start(which);
  return {};
}

P2PDVM_DECL result<> handshake::on_message(byte_view message) {
  auto payload = noise_->read_message(message);
  if (!payload) {
    if (payload.error().code() != errc::authentication) return payload.error();
    return error(errc::authentication,
                 "the remote peer could not be authenticated: it belongs to another swarm, has "
                 "another key, or its messages were altered on the way");
  }
  const bool first_of_xx = which_ == noise::pattern::xx && side_ == noise::role::responder &&
                           !noise_->remote_static();
  if (first_of_xx) {
    if (!payload->empty())
      return error(errc::malformed, "the first handshake message carries unexpected data");
  } else if (auto known = on_introduction(*payload); !known) {
    return known;
  }
  if (noise_->my_turn()) {
    if (auto wrote = write_message(); !wrote) return wrote;
  }
  if (noise_->finished()) finish();
  return {};
}

P2PDVM_DECL result<> handshake::on_introduction(byte_view payload) {
  auto remote = wire::decode<detail::introduction>(payload);
  if (!remote) return error(errc::malformed, "the remote peer's introduction does not decode");
  auto converted = crypto::exchange_key_of(remote->key);
  if (!converted) return converted.error();
  if (*converted != *noise_->remote_static())
    return error(errc::authentication,
                 "the remote peer's identity does not belong to the key that it proved to hold");
  if (remote->key == self_.key())
    return error(errc::refused, "the connection leads back to this very peer");
  const node_id id = crypto::node_id_of(remote->key);
  if (options_.expected && id != *options_.expected)
    return error(errc::authentication, "peer " + id.brief() + " answered where peer " +
                                           options_.expected->brief() +
                                           " was expected; its address is out of date");
  remote_key_ = remote->key;
  remote_instance_ = remote->instance;
  remote_port_ = remote->port;
  use_aes_ = (remote->ciphers & detail::introduction_has_aes) != 0 && options_.allow_aes &&
             crypto::aes_available();
  return {};
}

P2PDVM_DECL void handshake::finish() {
  const auto [forth, back] = noise_->split();
  const bool initiator = side_ == noise::role::initiator;
  const auto cipher =
      use_aes_ ? noise::cipher::aes256_gcm : noise::cipher::chacha20_poly1305;
  result_.emplace(handshake_result{
      remote_key_, crypto::node_id_of(remote_key_), remote_instance_, remote_port_, cipher,
      record_sender(record_cipher(cipher, (initiator ? forth : back).key())),
      record_receiver(record_cipher(cipher, (initiator ? back : forth).key()))});
  noise_.reset();
}

}  // namespace p2pdvm::link
