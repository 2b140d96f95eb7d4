/// Actors: what a program writes. Over PEAL's public headers alone, as a pattern for environments of others (docs/environments.md).
#pragma once

#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <typeinfo>

namespace p2pdvm::actors {

/// Where an actor is to be found. It never changes, can be part of messages and of state, and outlives its actor: what is sent
/// there afterwards is a dead letter. The nth actor that rank r creates, from 0, is `{r, r, n}` if it lives on r, known to all
/// without a message.
struct address {
  std::int32_t rank = -1, creator = -1;  ///< where it lives, and who has created it
  std::uint64_t number = 0;              ///< of all that the creator has created
  auto operator<=>(const address&) const = default;
  template <class Archive>
  void serialize(Archive& archive) { archive(rank, creator, number); }
};

class system;

namespace detail {

/// What travels to an actor, or makes one of its saved state.
struct letter {
  address to;
  std::string type;        ///< typeid(…).name() of the message, or of the actor: the same in every process that runs this program
  std::uint16_t file = 0;  ///< peal::rank::file_number, of the call
  std::uint32_t line = 0;
  std::int32_t from = 0;
  payload body;
  template <class F>
  void fields(F&& f) { f(to.rank), f(to.creator), f(to.number), f(type), f(file), f(line), f(from), f(body); }
};

/// An actor with its type forgotten.
struct hosted {
  virtual ~hosted() = default;
  [[nodiscard]] virtual const void* value() const = 0;
  [[nodiscard]] virtual byte_vector save() const = 0;
  [[nodiscard]] virtual bool load(byte_view saved) = 0;
  /// What is wrong with the message, if something is.
  [[nodiscard]] virtual const char* receive(system& here, const letter& l) = 0;
  std::string type;
};
template <class Actor, class... Messages>
struct typed final : hosted {
  const void* value() const override { return &actor; }
  byte_vector save() const override { return wire::save(actor); }
  bool load(byte_view saved) override { return wire::load(saved, actor).ok(); }
  const char* receive(system& here, const letter& l) override {
    const char* wrong = "takes no message of the type of the one";
    const auto take = [&]<class Message>(Message m) {
      if (l.type != typeid(Message).name()) return;
      wrong = wire::load(l.body.view(), m).ok() ? nullptr : "cannot read the message";
      if (wrong == nullptr) actor.receive(here, std::as_const(m));
    };
    (take(Messages()), ...);
    return wrong;
  }
  Actor actor{};
};

}  // namespace detail

/// Make one at the top of the body, before `restore()`; it must live until the body ends. All ranks register the same types,
/// and run it together:
///
///     struct player {
///       std::uint64_t seen = 0;
///       void receive(actors::system& here, const ball& b) {
///         ++seen;
///         if (b.left > 0) here.send(b.from, ball{here.self(), b.left - 1});
///       }
///       template <class Archive> void serialize(Archive& archive) { archive(seen); }
///     };
///
///     actors::system actors(rank);
///     actors.type<player, ball>("player");
///     co_await rank.restore();
///     if (!actors.running()) actors.create(rank.id(), player());   // not again after a restart
///     co_await actors.run();                                       // until all is quiet
///
/// An actor is a value that cereal can save, as messages are, with a `receive` for each type of message that it is registered
/// with. It handles one message at a time, and in doing so may send, create and stop. Messages of one rank to another arrive in
/// the order in which they were sent; beyond that there is no order, and results must not depend on one. A snapshot may be taken
/// between any two messages of a rank: actors, messages on their way and counts are in it, and the program's state as it was
/// when it called `run`. After a restart the program calls `run` again, which goes on.
class system final : public peal::adapter {
 public:
  explicit system(peal::rank& rank) : rank_(rank), port_(rank.open("actors", *this)) {}

  /// Before `restore()`: there may be such actors, and these are the messages that they receive. The name is for errors.
  template <class Actor, class... Messages>
  void type(std::string name) {
    types_[typeid(Actor).name()] = {std::move(name), [] { return std::unique_ptr<detail::hosted>(new detail::typed<Actor, Messages...>); }};
  }
  /// In handlers, and in the program before a run: a new actor on any rank, as this one is. Its address is good at once, and may
  /// be given to others. A type that is not registered ends the job with a sentence that names this line.
  template <class Actor>
  address create(int rank, const Actor& initial, std::source_location where = std::source_location::current()) {
    const address to{rank, rank_.id(), state_.next++};
    post(create_tag, to, typeid(Actor).name(), wire::save(initial), where);
    return to;
  }
  /// Likewise. Never waits. A message that its actor does not take, or cannot read, ends the job with a sentence.
  template <class Message>
  void send(const address& to, const Message& m, std::source_location where = std::source_location::current()) {
    post(letter_tag, to, typeid(Message).name(), wire::save(m), where);
  }
  /// In handlers: the actor that is handling a message.
  [[nodiscard]] const address& self() const noexcept { return self_; }
  /// In handlers: it gets no message after this one.
  void stop() noexcept { stops_ = self_.rank >= 0; }

  /// Handles messages until there are none, anywhere. Collective.
  task<> run(std::source_location where = std::source_location::current());
  /// Whether there is something to run: this rank has sent or created since the last run, or the job was restored in the middle
  /// of one. So it is false where a program is to begin something, also after a restart.
  [[nodiscard]] bool running() const noexcept { return state_.inside || state_.mine[0] > 0; }
  /// Messages that found no actor on this rank: it had stopped, or was not there at the end of the run.
  [[nodiscard]] std::uint64_t dead_letters() const noexcept { return state_.dead_letters; }
  /// Calls `f(address, actor)` of all actors of this type on this rank, in the order of addresses.
  template <class Actor, class F>
  void each(F&& f) const {
    for (const auto& [at, any] : actors_)
      if (any->type == typeid(Actor).name()) f(at, *static_cast<const Actor*>(any->value()));
  }

  [[nodiscard]] byte_vector save() const override;
  void load(byte_view saved) override;

 private:
  enum : std::int64_t { letter_tag, create_tag, ask_tag, answer_tag, end_tag };
  /// Others on the rank's thread have their turn after so many.
  static constexpr int messages_per_turn = 16;
  using counts = std::array<std::uint64_t, 2>;  ///< of letters sent and received in this run
  static void add(counts& to, const counts& more) { to = {to[0] + more[0], to[1] + more[1]}; }
  struct saved_state {
    std::uint64_t next = 0, dead_letters = 0;
    std::uint32_t run = 0, missing = 0;  ///< answers to this wave
    bool inside = false, asked = false;
    counts mine{}, sum{}, last{};  ///< of this rank; of those below it, in this wave; on rank 0, of all in the one before
    std::map<std::int32_t, std::uint64_t> created;  ///< by others on this rank: from this number on they are still to come
    std::vector<detail::letter> early, actors;      ///< for actors that are still to come; to make actors of
    template <class F>
    void fields(F&& f) {
      f(next), f(dead_letters), f(run), f(missing), f(inside), f(asked), f(mine), f(sum), f(last), f(created), f(early), f(actors);
    }
  };
  void post(std::int64_t tag, const address& to, const char* type, byte_vector body, const std::source_location& where);
  void on_message(const peal::message& m);
  void place(const detail::letter& l);
  void deliver(const detail::letter& l);
  [[noreturn]] void refuse(const std::string& sentence, const detail::letter& l = detail::letter());

  peal::rank& rank_;
  peal::port port_;
  std::map<std::string, std::pair<std::string, std::unique_ptr<detail::hosted> (*)()>> types_;  ///< a name, and what makes one
  std::map<address, std::unique_ptr<detail::hosted>> actors_;
  saved_state state_;
  address self_;
  bool active_ = false, ended_ = false, stops_ = false;
};

}  // namespace p2pdvm::actors

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/actors/impl/system.ipp>
#endif
