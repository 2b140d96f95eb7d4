#pragma once

#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/runtime/member_square.hpp>
#include <p2pdvm/runtime/peer.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr std::size_t directory_contacts_max = 6;
inline constexpr std::size_t directory_addresses_max = 2;  ///< of each
inline constexpr auto directory_lifetime = std::chrono::hours(24);
/// Members publish the directory in turn: each so often, and soon after every change.
inline constexpr auto directory_interval = std::chrono::hours(1);
/// So long a newcomer's own connection is waited for; then it is dialled like any other member.
inline constexpr auto newcomer_time = std::chrono::seconds(3);

inline constexpr std::size_t join_datagram_bytes = link::datagram_plain_bytes_max - 16;

/// Whether who asks to join says that it can be reached where it came from; the port may be another one.
inline bool lists(const join_request& request, const std::optional<address>& source) {
  return source && std::any_of(request.addresses.begin(), request.addresses.end(), [&](const address& a) {
           return a.with_port(0) == source->with_port(0);
         });
}

/// What the record keeps of a ticket, to count its uses.
inline std::uint64_t word_of(const ticket& t) {
  std::uint64_t word = 0;
  const digest256 hash = crypto::hash(wire::encode(t));
  std::memcpy(&word, hash.bytes().data(), sizeof word);
  return word;
}

}  // namespace detail

P2PDVM_DECL digest256 digest_of(const job_results& results) {
  crypto::hasher h;
  for (const auto& [name, bytes] : results) {
    const std::uint64_t sizes[] = {name.size(), bytes.size()};
    h.add(std::as_bytes(std::span(sizes))).add(as_bytes(name)).add(bytes);
  }
  return h.finish();
}

P2PDVM_DECL peer::peer(host::machine& machine, queue_context& ranks, driver_token& token,
                       const peal::program& program, peer_setting setting, callbacks call)
    : machine_(machine),
      setting_(std::move(setting)),
      call_(std::move(call)),
      program_(program),
      ranks_(ranks),
      token_(token),
      node_timer_(machine.clock()),
      linger_timer_(machine.clock()),
      publish_timer_(machine.clock()),
      compact_timer_(machine.clock()),
      admit_timer_(machine.clock()) {}

P2PDVM_DECL peer::~peer() {
  *alive_ = false;
  job_.reset();
}

// --- beginnings ---

P2PDVM_DECL result<> peer::open() {
  if (auto r = open_identity(); !r.ok()) return r;
  store::segment_log::options how;
  how.salt = machine_.entropy().next();
  how.quota_bytes = setting_.store_bytes_max;
  auto log = store::segment_log::open(machine_.disk(), "store", how);
  if (!log.ok()) return log.error();
  (*log)->drop_unpinned();
  log_ = std::move(*log);
  folder_.emplace(machine_.disk(), *log_);
  if (setting_.listen) {
    if (auto r = open_network(); !r.ok()) return r;
  }
  context_.emplace(peer_context{machine_, ranks_, token_, *log_, *identity_, program_, setting_,
                                exchange_.get(), call_.event});
  if (exchange_) tell_listening();
  return {};
}

P2PDVM_DECL void peer::tell_listening() {
  event e;
  e.kind = event_kind::listening;
  e.node = identity_->id();
  e.text = exchange_->local().text();
  context_->tell(std::move(e));
}

P2PDVM_DECL result<> peer::open_identity() {
  auto saved = machine_.disk().read_all("identity", crypto::secret_key::size);
  if (saved.ok() && saved->size() == crypto::secret_key::size) {
    identity_.emplace(crypto::secret_key(*saved));
    return {};
  }
  if (saved.ok() || saved.error().code() != errc::not_found)
    return error(errc::corrupted, machine_.disk().describe("identity") +
                                      " is damaged; restore it from a copy, or remove it to begin "
                                      "as a new peer");
  crypto::secret_key seed;
  machine_.entropy().fill(seed.mutable_bytes());
  identity_.emplace(seed);
  return machine_.disk().replace("identity", seed.bytes());
}

P2PDVM_DECL result<> peer::open_network() {
  messaging::exchange_options o;
  o.swarm = setting_.swarm;
  o.clear_datagrams = setting_.clear_datagrams;
  messaging::exchange_handler& handler = *this;
  exchange_ = std::make_unique<messaging::exchange>(machine_, *identity_, o, handler);
  if (auto r = listen(); !r.ok()) return r;
  overlay::overlay_transport& transport = *this;
  node_ = std::make_unique<overlay::node>(*identity_, setting_.overlay,
                                          random_generator(machine_.entropy().next()), transport);
  node_->set_wall_clock(machine_.clock().now(), machine_.clock().wall());
  std::vector<overlay::contact> known;
  for (const auto& c : folder_->contacts()) {
    (void)exchange_->learn(c);
    for (const address& a : c.addresses) known.push_back({c.key, a});
  }
  if (known.empty()) return {};
  node_->join(machine_.clock().now(), known);
  arm_node();
  return {};
}

/// On the port of the last time, if the host may choose: others remember it.
P2PDVM_DECL result<> peer::listen() {
  const std::uint16_t last = folder_->port();
  const bool free_choice = setting_.listen->port() == 0;
  auto listening = exchange_->listen(free_choice ? setting_.listen->with_port(last) : *setting_.listen);
  if (!listening.ok() && free_choice && last != 0) listening = exchange_->listen(*setting_.listen);
  if (!listening.ok()) return listening;
  return folder_->keep_port(exchange_->local().port());
}

P2PDVM_DECL messaging::contact peer::own_contact() const {
  messaging::contact own{identity_->key(), {}};
  const address local = exchange_->local();
  if (!local.is_any()) {
    own.addresses.push_back(local);
    return own;
  }
  for (const address& a : machine_.network().interfaces()) {
    if (a.is_v4() == local.is_v4() && own.addresses.size() < messaging::contact_addresses_max)
      own.addresses.push_back(a.with_port(local.port()));
  }
  return own;
}

P2PDVM_DECL result<> peer::make_job(job_request request) {
  P2PDVM_ASSERT(job_ == nullptr);
  if (auto r = folder_->vacant(); !r.ok()) return r;
  job_identity who;
  for (std::uint64_t& word : who.spec.nonce) word = machine_.entropy().next();
  machine_.entropy().fill(who.secret.mutable_bytes());
  who.spec.program = program_.name();
  who.spec.executable = setting_.executable;
  who.spec.platform = setting_.platform;
  who.spec.ranks = request.ranks;
  who.spec.peers = request.peers;
  who.spec.replicas = request.replicas;
  who.spec.issuer = identity_->key();
  who.spec.options = std::move(request.options);
  auto inputs = folder_->seal_inputs(request.inputs, who.secret);
  if (!inputs.ok()) return inputs.error();
  who.spec.inputs = std::move(*inputs);
  who.spec.id = who.spec.derived_id();

  checkpoint::member founder;
  founder.node = identity_->id();
  if (exchange_) founder.addresses = own_contact().addresses;
  founder.failure_domain = setting_.failure_domain;
  auto first = checkpoint::found_job(who.spec.id, crypto::hash(wire::encode(who.spec)),
                                     request.ranks, request.replicas, std::move(founder));
  if (!first.ok()) return first.error();
  checkpoint::acceptor acceptor(who.spec.id, *identity_);
  byte_vector persist;
  const auto known = acceptor.found(std::move(*first), persist);
  const record_update newest{*known.record, known.proof, {}};
  if (auto r = folder_->keep(identity_->id(), who, newest, persist); !r.ok()) return r;
  if (auto r = folder_->pin_inputs(who.spec); !r.ok()) return r;
  log_->sync([this, alive = alive_, who, newest, acceptor = std::move(acceptor)](const result<>& synced) {
    if (!*alive) return;
    if (!synced.ok()) return finish(synced.error());
    begin(who, newest, acceptor);
    first_record_ = newest;
    job_->begin();
    if (job_->spec().peers > 1) {
      event e;
      e.kind = event_kind::ticket;
      e.text = make_ticket().value().text();
      context_->tell(std::move(e));
    }
    maybe_start();
  });
  return {};
}

P2PDVM_DECL void peer::begin(job_identity who, record_update newest,
                             std::optional<checkpoint::acceptor> acceptor) {
  job_owner& owner = *this;
  job_ = std::make_unique<job>(owner, *context_, std::move(who), std::move(newest),
                               std::move(acceptor));
  reception_.emplace();
  for (const auto& [follower, wish] : std::exchange(early_followers_, {})) {
    if (wish == job_->spec().id) job_->be_followed_by(follower);
  }
  compact_later();
}

P2PDVM_DECL result<> peer::resume() {
  P2PDVM_ASSERT(job_ == nullptr);
  auto kept = folder_->load(program_.name(), *identity_);
  if (!kept.ok()) return kept.error();
  const checkpoint::job_record& record = kept->newest.record;
  // A job of several peers needs the network, where none was asked for too.
  if (!exchange_ && kept->who.spec.peers > 1) {
    setting_.listen = address::v4(0, 0, 0, 0, 0);
    if (auto r = open_network(); !r.ok()) return r;
    context_->exchange = exchange_.get();
    tell_listening();
  }
  const bool away = record.state != checkpoint::job_state::done && !record.is_live(identity_->id());
  const bool own = record.find(identity_->id()) != nullptr || folder_->kept_by(identity_->id());
  if (away && (!exchange_ || !own))
    return error(errc::authentication,
                 "the identity in " + machine_.disk().describe("identity") + " has no part in the job "
                 "kept there; put the job's own identity back, or remove the folder and join again");
  begin(std::move(kept->who), std::move(kept->newest), std::move(kept->acceptor));
  job_->begin_resumed();
  if (away) on_evicted();  // it stopped before it could come back, or in
  maybe_start();
  return {};
}

// --- joining ---

P2PDVM_DECL result<ticket> peer::make_ticket(std::uint32_t uses) const {
  if (!exchange_ || !job_) return error(errc::not_found, "there is no job to give a ticket for");
  ticket t;
  t.swarm = digest256(setting_.swarm.bytes());
  t.job = job_->spec().id;
  t.uses = uses;
  t.expiry = machine_.clock().wall() + setting_.ticket_lifetime.count();
  t.serial = machine_.entropy().next();
  const auto own = own_contact();
  t.contacts.push_back({own.key, own.addresses});
  for (const auto& m : job_->record().members) {
    if (m.live() && m.node != identity_->id() && t.contacts.size() < 4)
      t.contacts.push_back({m.key(), m.addresses});
  }
  t.directory = job_directory(t.job, job_->secret()).signer.key();
  t.sign(*identity_);
  return t;
}

P2PDVM_DECL result<> peer::join(const ticket& with) {
  P2PDVM_ASSERT(exchange_ != nullptr);
  if (auto r = with.check(machine_.clock().wall()); !r.ok()) return r;
  if (!equal(with.swarm.bytes(), setting_.swarm.bytes()))
    return error(errc::wrong_job, "this ticket is for another swarm than this program's");
  const auto kept = folder_->job();
  if (kept == with.job) {
    if (folder_->lists(identity_->id())) return resume();
  } else if (auto r = folder_->vacant(); !r.ok()) {
    return r;
  }
  joiner_owner& owner = *this;
  joining_.emplace(owner, machine_.clock(), with);
  std::vector<overlay::contact> swarm;
  for (const auto& c : with.contacts) {
    auto node = exchange_->learn({c.key, c.addresses});
    if (!node.ok() || *node == identity_->id()) continue;
    joining_->add(*node);
    for (const address& a : c.addresses) swarm.push_back({c.key, a});
  }
  if (swarm.empty() && node_->table().size() == 0)
    return error(errc::unreachable, "this ticket names no peer but this one");
  if (!swarm.empty()) node_->join(machine_.clock().now(), swarm);
  arm_node();
  joining_->ask();
  return {};
}

/// The swarm keeps the addresses of the job's members, signed by a key that only they have.
P2PDVM_DECL void peer::look_for_members(const ticket& with) {
  node_->find(machine_.clock().now(), job_directory::target(with.job), with.directory,
              [this, alive = alive_](const result<overlay::found_record>& found) {
                if (!*alive || !joining_ || !found.ok()) return;
                const auto more =
                    wire::decode<std::vector<messaging::contact>>((*found).what.value);
                if (!more.ok()) return;
                for (const auto& c : *more) {
                  auto node = exchange_->learn(c);
                  if (node.ok() && *node != identity_->id()) joining_->add(*node);
                }
              });
  arm_node();
}

P2PDVM_DECL join_request peer::join_request_to(const node_id& whom, const std::optional<ticket>& with) {
  join_request request;
  request.job = with ? with->job : job_->spec().id;
  request.ticket = with;
  request.executable = setting_.executable;
  request.platform = setting_.platform;
  request.failure_domain = setting_.failure_domain;
  request.addresses = own_contact().addresses;
  request.storage_only = setting_.storage_only;
  request.is_ready = job_ != nullptr;
  request.is_guided = guide_ && guide_ != whom;
  request.place = place();
  return request;
}

P2PDVM_DECL void peer::ask_to_join(const node_id& whom, const std::optional<ticket>& with) {
  send(whom, join_request_to(whom, with));
}

P2PDVM_DECL void peer::ask_by_datagram(const node_id& whom, const ticket& with) {
  const messaging::contact* who = exchange_->find(whom);
  if (who == nullptr || who->addresses.empty()) return;
  join_datagram quick{join_request_to(whom, with), {}};
  const std::size_t bytes = wire::encoded_bytes(quick);
  if (bytes < detail::join_datagram_bytes) quick.padding.resize(detail::join_datagram_bytes - bytes);
  byte_vector plain{datagram_kind::joining};
  append(plain, wire::encode(quick));
  exchange_->send_datagram(who->key, who->addresses.front(), plain);
}

/// The others took this peer for lost. What it knows of the job is good, its ranks run elsewhere.
P2PDVM_DECL void peer::on_evicted() {
  joiner_owner& owner = *this;
  joining_.emplace(owner, machine_.clock());
  for (const auto& m : job_->record().members) {
    if (!m.live()) continue;
    joining_->add(m.node);
    exchange_->trust(m.node);
  }
  if (joining_->knows_nobody()) return joining_.reset();
  joining_->ask_after(std::chrono::milliseconds(500));
}

P2PDVM_DECL void peer::join_failed(const error& why) {
  joining_.reset();
  finish(why);
}

P2PDVM_DECL std::string peer::why_not(const node_id& from, const join_request& request) const {
  const auto& record = job_->record();
  if (record.state == checkpoint::job_state::done) return "the job is done already";
  if (record.state == checkpoint::job_state::failed) return "the job has failed: " + record.failure;
  if (request.executable != setting_.executable)
    return "your program is another build than the job's; every peer must run the same executable";
  if (request.platform != setting_.platform)
    return "your platform computes other floating-point results than the job's peers, so that "
           "results would depend on where ranks run";
  if (record.find(from) != nullptr) return {};
  if (!request.ticket) return "you need a ticket to join";
  const ticket& t = *request.ticket;
  if (t.job != job_->spec().id || t.issuer != job_->spec().issuer)
    return "the ticket is not one of this job's maker";
  if (auto good = t.check(machine_.clock().wall()); !good.ok()) return good.error().message();
  const std::uint64_t id = detail::word_of(t);
  auto used = std::count_if(record.members.begin(), record.members.end(),
                            [&](const auto& m) { return m.ticket == id; });
  used += std::count_if(admissions_.begin(), admissions_.end(), [&](const auto& a) {
    return a.first != from && a.second.ticket == id && record.find(a.first) == nullptr;
  });
  if (t.uses > 0 && used >= t.uses) return "the ticket was used up";
  return {};
}

P2PDVM_DECL void peer::on_join_request(const node_id& from, join_request& request) {
  request.is_hidden = !detail::lists(request, exchange_->remote_address(from));
  if (!job_ || request.job != job_->spec().id)
    return send(from, join_refusal{"this peer does not work on that job", true, {}});
  if (std::string reason = why_not(from, request); !reason.empty())
    return send(from, join_refusal{std::move(reason), false, {}});
  exchange_->trust(from);
  // Its process may be another one by now, which knows nothing of what that one was told.
  const auto since = awaited_.find(from);
  const bool awaited =
      since != awaited_.end() && machine_.clock().now() - since->second < detail::newcomer_time;
  if (awaited && job_->links().contains(from)) exchange_->keep(from);
  if (!request.is_ready) {
    // Who was quicker by datagrams has had its welcome; its second step comes right behind.
    if (awaited || admissions_.contains(from)) return;
    job_->allow_reader(from);
    return send(from, welcome_for(from, request));
  }
  if (awaited) {
    awaited_.erase(from);
    send(from, join_queued());
    return be_followed_by(from, request);
  }
  const node_id admits = admitter();
  if (admits != identity_->id()) return pass_on(from, request, admits);
  if (!note_applicant(from, request))
    return send(from, join_refusal{"too many others are joining; try again later", false, {}});
  be_followed_by(from, request);
  send(from, join_queued());
  admit_waiting();
}

/// A good request that was quicker than its connection. What is wrong with another one is said on
/// that, where a lie about the address costs nobody anything.
P2PDVM_DECL void peer::on_join_datagram(const public_key& key, const address& where, byte_view bytes) {
  auto decoded = wire::decode<join_datagram>(bytes);
  if (!decoded.ok()) return;
  const node_id from = crypto::node_id_of(key);
  if (auto* answer = std::get_if<welcome>(&decoded->what)) return on_welcome(from, std::move(*answer));
  join_request& request = std::get<join_request>(decoded->what);
  request.is_hidden = !detail::lists(request, where);
  // Who has been in the job before must know of the newest record what it was.
  if (!job_ || !first_record_ || request.job != job_->spec().id || !job_->is_member() ||
      job_->record().state != checkpoint::job_state::forming ||
      job_->record().find(from) != nullptr || !why_not(from, request).empty())
    return;
  if (request.is_ready) {
    if (!note_applicant(from, request)) return;
    awaited_.try_emplace(from, machine_.clock().now());
    return admit_waiting();
  }
  join_datagram quick{welcome_for(from, request), {}};
  byte_vector plain{datagram_kind::joining};
  append(plain, wire::encode(quick));
  if (plain.size() > bytes.size() + 1) return;
  job_->allow_reader(from);
  exchange_->send_datagram(key, where, plain);
}

P2PDVM_DECL welcome peer::welcome_for(const node_id& from, const join_request& request) {
  welcome answer{job_->spec(), job_->secret(), {}, {}, {}};
  const auto& record = job_->record();
  if (!first_record_ || record.find(from) != nullptr ||
      record.state != checkpoint::job_state::forming) {
    answer.newest = job_->keeper().update();
    return answer;
  }
  answer.newest = *first_record_;
  messaging::contact newcomer{public_key(from.bytes()), request.addresses};
  if (newcomer.addresses.size() > detail::directory_addresses_max)
    newcomer.addresses.resize(detail::directory_addresses_max);
  answer.guide = reception_->guide_of(newcomer, record, job_->spec().peers);
  answer.others = reception_->others_than(newcomer.key);
  return answer;
}

/// The same member by the records of nearly all: the first that can be reached from here.
P2PDVM_DECL node_id peer::admitter() const {
  const auto& record = job_->record();
  if (record.state == checkpoint::job_state::forming) {
    for (const auto& m : record.members) {
      if (m.live() && (m.node == identity_->id() || exchange_->connected(m.node))) return m.node;
    }
  }
  return identity_->id();
}

/// False when there are too many.
P2PDVM_DECL bool peer::note_applicant(const node_id& from, const join_request& request) {
  if (admissions_.size() >= limits::members_max && !admissions_.contains(from)) return false;
  checkpoint::member joiner;
  joiner.node = from;
  joiner.addresses = request.addresses;
  if (joiner.addresses.size() > checkpoint::member_addresses_max)
    joiner.addresses.resize(checkpoint::member_addresses_max);
  joiner.failure_domain = request.failure_domain.substr(0, checkpoint::failure_domain_bytes_max);
  if (overlay::unpack(request.place).ok()) joiner.place = request.place;
  if (request.storage_only) joiner.flags |= checkpoint::member::storage_only;
  if (request.is_hidden) joiner.flags |= checkpoint::member::hidden;
  if (request.ticket) joiner.ticket = detail::word_of(*request.ticket);
  admissions_[from] = std::move(joiner);
  return true;
}

P2PDVM_DECL void peer::be_followed_by(const node_id& from, const join_request& request) {
  if (request.is_guided) return;
  if (job_->record().state == checkpoint::job_state::forming) return job_->be_followed_by(from);
  if (job_->record().is_live(from)) send(from, job_->keeper().update());
}

P2PDVM_DECL void peer::pass_on(const node_id& from, join_request request, const node_id& admits) {
  job_->be_followed_by(from);
  send(from, join_queued());
  send(admits, passed_join{from, std::move(request)});
}

P2PDVM_DECL void peer::on_passed_join(const node_id& from, const passed_join& message) {
  if (!job_ || !job_->record().is_live(from) || !job_->is_member()) return;
  std::string reason = why_not(message.joiner, message.request);
  if (reason.empty() && !note_applicant(message.joiner, message.request))
    reason = "too many others are joining; try again later";
  if (!reason.empty()) return send(from, join_refusal{std::move(reason), false, message.joiner});
  admit_waiting();
}

/// Asks another member for what is new, when the one that told it is gone.
P2PDVM_DECL void peer::follow(const node_id& whom) {
  guide_ = whom;
  if (whom != identity_->id()) send(whom, follow_request{job_->spec().id});
}

P2PDVM_DECL bool peer::is_awaited(const node_id& node) const {
  const auto found = awaited_.find(node);
  return found != awaited_.end() && !exchange_->connected(node) &&
         machine_.clock().now() - found->second < detail::newcomer_time;
}

/// One write admits all who asked until the keepers were ready for it; later ones wait for the
/// next, which in a large job comes after a pause, unless nobody is missing then.
P2PDVM_DECL void peer::admit_waiting() {
  if (!job_ || admissions_.empty() || admitting_) return;
  const bool forming = job_->record().state == checkpoint::job_state::forming;
  const bool whole = job_->record().live_count() + admissions_.size() >= job_->spec().peers;
  if (!forming || whole || reception_->next_write() <= machine_.clock().now()) return write_admissions();
  admit_timer_.at(reception_->next_write(), [this] { admit_waiting(); });
}

P2PDVM_DECL void peer::write_admissions() {
  admitting_ = true;
  admit_timer_.cancel();
  auto batch = std::make_shared<std::vector<checkpoint::member>>();
  job_->keeper().propose(
      [this, alive = alive_, batch](const checkpoint::job_record& r) -> result<checkpoint::job_record> {
        if (!*alive) return error(errc::conflict, "this peer is gone");
        batch->clear();
        for (const auto& [node, joiner] : admissions_) batch->push_back(joiner);
        auto next = checkpoint::admit(r, *batch);
        if (next.ok())
          reception_->wrote(machine_.clock().now(), wire::encoded_bytes(*next), next->keepers.size());
        return next;
      },
      [this, alive = alive_, batch](const result<>& written) {
        if (!*alive || !job_) return;
        if (batch->empty()) {  // it was refused before anybody looked
          for (const auto& [node, joiner] : admissions_) batch->push_back(joiner);
        }
        on_admitted(*batch, written);
      });
}

P2PDVM_DECL void peer::on_admitted(const std::vector<checkpoint::member>& batch,
                                   const result<>& written) {
  admitting_ = false;
  for (const checkpoint::member& joiner : batch) {
    admissions_.erase(joiner.node);
    if (!job_->record().is_live(joiner.node)) {
      awaited_.erase(joiner.node);
      send(joiner.node, join_refusal{written.ok() ? "the job has as many members as it may have"
                                                  : written.error().message(), false, {}});
    } else if (is_awaited(joiner.node)) {
      // It is told when it comes.
    } else if (!written.ok() || job_->record().state != checkpoint::job_state::forming) {
      // Followers have been told; who was a member before may have missed that.
      send(joiner.node, job_->keeper().update());
    }
  }
  admit_waiting();
}

P2PDVM_DECL void peer::on_welcome(const node_id& from, welcome message) {
  if (job_ || !joining_ || !joining_->has_asked(from) || !joining_->is_meant(message.spec)) return;
  if (auto r = message.spec.validate(); !r.ok()) return join_failed(r.error());
  if (message.spec.program != program_.name())
    return join_failed(error(errc::incompatible, "the job runs the program '" +
                                                     message.spec.program + "', this one is '" +
                                                     program_.name() + "'"));
  const auto& record = message.newest.record;
  auto believed = record.validate();
  if (believed.ok()) believed = checkpoint::verify(record, message.newest.proof, record.keepers);
  if (!believed.ok()) return join_failed(believed.error());
  if (!message.spec.fits(record))
    return join_failed(error(errc::malformed, "the peer that answered sent the record of another job"));
  // This identity has been in the job, but its folder knows nothing of that any more.
  const bool again = record.is_live(identity_->id());
  if (record.is_kept_by(identity_->id()))
    return join_failed(error(errc::lost, "this peer's identity keeps the record of that job, but what it promised is "
                                         "gone from " + machine_.disk().describe("") + "; restore the folder from a "
                                         "copy, or remove it and join as a new peer"));
  job_identity who{std::move(message.spec), message.secret};
  if (auto r = folder_->keep(identity_->id(), who, message.newest); !r.ok()) return join_failed(r.error());
  joining_->pause();
  exchange_->trust(from);
  guide_ = from;
  if (message.others.size() > reception::others_max) message.others.resize(reception::others_max);
  for (const messaging::contact& c : message.others) {
    const auto other = exchange_->learn(c);
    if (other.ok() && *other != identity_->id()) joining_->add(*other);
  }
  if (message.guide) {
    const auto guide = exchange_->learn(*message.guide);
    if (guide.ok() && *guide != identity_->id()) {
      joining_->add(*guide);
      guide_ = *guide;
      exchange_->trust(*guide);
      send(*guide, follow_request{who.spec.id});
    }
  }
  // The one that answered may die before it admits.
  for (const checkpoint::member& m : record.members) {
    if (m.live() && m.node != identity_->id()) joining_->add(m.node);
  }
  begin(std::move(who), std::move(message.newest), std::nullopt);
  if (again) return job_->begin_resumed();  // its ranks died with the process before
  job_->begin();
  job_->fetch_inputs(from, [this, alive = alive_](const result<>& fetched) {
    if (!*alive) return;
    if (!fetched.ok()) return join_failed(fetched.error());
    // A member's disk knows the job: else a process that comes back would not know what it is.
    log_->sync([this, alive](const result<>& synced) {
      if (!*alive) return;
      if (!synced.ok()) return join_failed(synced.error());
      if (joining_) joining_->ask_again();
    });
  });
}

P2PDVM_DECL void peer::maybe_start() {
  if (!job_) return;
  const auto& record = job_->record();
  if (record.state != checkpoint::job_state::forming) return;
  const bool enough = record.live_count() >= job_->spec().peers;
  event e;
  e.kind = event_kind::waiting_peers;
  e.count = record.live_count();
  e.text = std::to_string(job_->spec().peers);
  if (!enough) return context_->tell(std::move(e));
  for (const auto& m : record.members) {
    if (!m.live()) continue;
    if (m.node == identity_->id())
      job_->keeper().propose([this, alive = alive_](const checkpoint::job_record& r) -> result<checkpoint::job_record> {
        if (!*alive) return error(errc::conflict, "this peer is gone");
        return checkpoint::start(r, checkpoint::near_placement(r, job_->distances(r)));
      });
    return;
  }
}

// --- between the network and the job ---

P2PDVM_DECL void peer::on_message(const node_id& from, std::uint8_t channel,
                                  messaging::arrived_message message) {
  if (channel == channel::rank) {
    if (job_) job_->on_rank_message(from, message);
    return;
  }
  if (channel == channel::store) {
    auto decoded = store::read_store_message(message.view);
    if (decoded.ok() && job_) job_->on_store_message(from, *decoded);
    return;
  }
  if (channel == channel::detector) {
    if (job_) job_->on_detector_message(from, message.view);
    return;
  }
  if (channel != channel::job) return;
  auto decoded = wire::decode<job_message>(message.view);
  if (!decoded.ok()) return;
  if (auto* request = std::get_if<join_request>(&*decoded)) return on_join_request(from, *request);
  if (auto* passed = std::get_if<passed_join>(&*decoded)) return on_passed_join(from, *passed);
  if (std::holds_alternative<join_queued>(*decoded)) {
    if (joining_ && joining_->has_asked(from)) joining_->wait_in_queue();
    return;
  }
  if (auto* refusal = std::get_if<join_refusal>(&*decoded)) {
    if (refusal->whom) {
      if (job_ && job_->record().is_live(from) && !job_->record().is_live(*refusal->whom))
        send(*refusal->whom, join_refusal{std::move(refusal->reason), false, {}});
      return;
    }
    if (!joining_ || !joining_->has_asked(from)) return;
    error why(errc::refused, "the job does not take this peer: " + refusal->reason);
    return refusal->elsewhere ? joining_->ask_another(why) : join_failed(why);
  }
  if (auto* w = std::get_if<welcome>(&*decoded)) return on_welcome(from, std::move(*w));
  if (job_) return job_->on_message(from, std::move(*decoded));
  // Who was told of this peer may be quicker than what this peer waits for itself.
  const auto* wish = std::get_if<follow_request>(&*decoded);
  if (wish != nullptr && joining_ && early_followers_.size() < limits::followers_max)
    early_followers_[from] = wish->job;
}

P2PDVM_DECL bool peer::takes_runs(std::uint8_t channel) const { return channel == channel::rank; }

P2PDVM_DECL void peer::on_messages(const node_id& from, std::uint8_t, std::span<const byte_view> run) {
  if (job_) job_->on_rank_messages(from, run);
}

P2PDVM_DECL messaging::landing peer::land(const node_id& from, std::uint8_t channel, byte_view begin,
                                          std::size_t total, messaging::landing_guest& guest) {
  if (channel != channel::rank || !job_) return {};
  return job_->land(from, begin, total, guest);
}

P2PDVM_DECL void peer::on_peer_up(const node_id&) {}

P2PDVM_DECL void peer::on_peer_reset(const node_id& node) {
  awaited_.erase(node);
  if (job_) job_->on_peer_reset(node);
}

P2PDVM_DECL void peer::on_connection_lost(const node_id& node, const error& why) {
  note_connection_lost(node, why);
  if (job_) job_->on_connection_lost(node);
}

P2PDVM_DECL void peer::on_unreachable(const node_id& node, const error& why) {
  note_connection_lost(node, why);
  if (job_) job_->on_unreachable(node);
}

P2PDVM_DECL void peer::note_connection_lost(const node_id& node, const error& why) {
  if (joining_) joining_->on_connection_lost(node, why);
  if (!job_) return;
  if (guide_ == node && job_->record().state == checkpoint::job_state::forming) {
    if (job_->is_member()) {
      follow(admitter());
    } else if (joining_ && joining_->asked() && joining_->asked() != node) {
      follow(*joining_->asked());
    }
  }
}

P2PDVM_DECL std::vector<node_id> peer::relays_to(const node_id& node) {
  return job_ ? job_->relays_to(node) : std::vector<node_id>();
}

P2PDVM_DECL void peer::on_path(const node_id& node, const std::optional<node_id>& relay) {
  event e;
  e.kind = relay ? event_kind::relayed : event_kind::direct;
  e.node = node;
  if (relay) e.text = relay->brief();
  context_->tell(std::move(e));
}

P2PDVM_DECL void peer::on_datagram(const link::opened_datagram& datagram, const address& from) {
  const byte_view plain = datagram.plain;
  if (plain.empty()) return;
  if (plain[0] == datagram_kind::detector) {
    // What a member's earlier process said is no sign that it lives.
    if (job_ && datagram.current) job_->on_detector_datagram(crypto::node_id_of(datagram.from), from, plain.subspan(1));
  } else if (plain[0] == datagram_kind::joining) {
    on_join_datagram(datagram.from, from, plain.subspan(1));
  } else if (plain[0] == datagram_kind::overlay) {
    node_->on_datagram(machine_.clock().now(), {datagram.from, from}, plain.subspan(1));
    arm_node();
  }
}

P2PDVM_DECL void peer::expect(unsigned stage) const noexcept {
  if (stage == 2) {
    prefetch(&machine_);
    prefetch(&node_);
    prefetch(&node_armed_for_);
    prefetch(&node_timer_, sizeof node_timer_);
  } else if (node_) {
    node_->expect(stage - 3);
  }
}

P2PDVM_DECL void peer::send(const overlay::contact& to, byte_view datagram) {
  byte_vector bytes(1 + datagram.size());
  bytes[0] = datagram_kind::overlay;
  std::copy(datagram.begin(), datagram.end(), bytes.begin() + 1);
  exchange_->send_datagram(to.key, to.where, bytes);
}

P2PDVM_DECL void peer::send(const node_id& to, job_message message) {
  if (!exchange_ || to == identity_->id()) return;
  // Who is about to connect gets the newest record then; to dial it as well would only be in the way.
  const bool news = std::holds_alternative<record_update>(message) ||
                    std::holds_alternative<record_difference>(message);
  if (news && is_awaited(to)) return;
  exchange_->send(to, channel::job, wire::encode(message), {}, messaging::priority::control);
}

P2PDVM_DECL void peer::send_store(const node_id& to, const store::store_message& message) {
  if (!exchange_) return;
  exchange_->send(to, channel::store, wire::encode(message), {}, messaging::priority::bulk);
}

P2PDVM_DECL overlay::packed_coordinate peer::place() {
  return node_ ? overlay::pack(node_->place()) : overlay::packed_coordinate();
}

P2PDVM_DECL void peer::measured(const node_id& member, const overlay::packed_coordinate& place,
                                duration round_trip) {
  node_->note_place(member, place, round_trip);
}

P2PDVM_DECL void peer::enter(const std::vector<overlay::contact>& through) {
  P2PDVM_ASSERT(node_ != nullptr);
  node_->join(machine_.clock().now(), through);
  arm_node();
}

P2PDVM_DECL void peer::lookup(const node_id& target, overlay::node::lookup_callback done) {
  node_->lookup(machine_.clock().now(), target, std::move(done));
  arm_node();
}

P2PDVM_DECL void peer::find(const node_id& target, const std::optional<public_key>& publisher,
                            overlay::node::find_callback done) {
  node_->find(machine_.clock().now(), target, publisher, std::move(done));
  arm_node();
}

P2PDVM_DECL void peer::publish(overlay::record r, overlay::node::publish_callback done) {
  node_->publish(machine_.clock().now(), std::move(r), std::move(done));
  arm_node();
}

P2PDVM_DECL void peer::nearest(std::size_t wanted, overlay::node::nearest_callback done) {
  node_->nearest(machine_.clock().now(), wanted, std::move(done));
  arm_node();
}

/// Gives the space of collected chunks back, little by little.
P2PDVM_DECL void peer::compact_later() {
  constexpr auto pause = std::chrono::seconds(2);
  constexpr std::size_t bytes_per_turn = 4 * 1024 * 1024;
  compact_timer_.after(pause, [this] {
    if (log_->compact(bytes_per_turn) > 0) log_->sync([](const result<>&) {});
    compact_later();
  });
}

P2PDVM_DECL void peer::arm_node() {
  if (!node_) return;
  // One that fires too early looks again: cheaper than to set it anew after every datagram.
  const time_point next = node_->next_timer();
  if (node_timer_.armed() && node_armed_for_ <= next) return;
  node_armed_for_ = next;
  node_timer_.at(next, [this] {
    const time_point now = machine_.clock().now();
    if (node_->next_timer() <= now) node_->on_timer(now);
    arm_node();
  });
}

P2PDVM_DECL void peer::on_members(const checkpoint::job_record& previous,
                                  const checkpoint::job_record& now) {
  if (now.is_live(identity_->id())) joining_.reset();
  if (stop_at_ && now.committed.epoch > *stop_at_) on_left();
  if (!exchange_) return;
  bool changed = false;
  for (std::uint32_t i = 0; i < now.members.size(); ++i) {
    const checkpoint::member& m = now.members[i];
    if (m.node == identity_->id()) continue;
    const bool was_live = previous.is_live(m.node, i);
    changed |= m.live() != was_live;
    // A keeper that was evicted is asked until the change of keepers has ended.
    const bool needed = m.live() || now.is_kept_by(m.node);
    if (needed == (was_live || previous.is_kept_by(m.node))) continue;
    if (!needed) {
      exchange_->forget(m.node);
      continue;
    }
    (void)exchange_->learn({m.key(), m.addresses});
    exchange_->trust(m.node);
  }
  if (!changed && previous.is_live(identity_->id()) == now.is_live(identity_->id())) return;
  for (const node_id& link : job_->links()) {
    if (!is_awaited(link) || exchange_->connected(link)) exchange_->keep(link);
  }
  for (const node_id& relay : job_->own_relays()) exchange_->keep(relay);
  remember_contacts();
  publish_later(std::chrono::seconds(1));
  maybe_start();
}

P2PDVM_DECL void peer::remember_contacts() {
  std::vector<messaging::contact> list;
  for (const auto& m : job_->record().members) {
    if (m.live() && m.node != identity_->id() && list.size() < 64)
      list.push_back({m.key(), m.addresses});
  }
  folder_->keep_contacts(list);
}

P2PDVM_DECL void peer::publish_later(duration pause) {
  publish_timer_.after(pause, [this] { publish_job(); });
}

P2PDVM_DECL void peer::publish_job() {
  if (!job_ || ended_ || !job_->is_member()) return;
  std::vector<messaging::contact> list;
  for (const auto& m : job_->record().members) {
    if (!m.live() || list.size() == detail::directory_contacts_max) continue;
    auto& c = list.emplace_back(messaging::contact{m.key(), m.addresses});
    if (c.addresses.size() > detail::directory_addresses_max)
      c.addresses.resize(detail::directory_addresses_max);
  }
  const time_point now = machine_.clock().now();
  std::vector<overlay::contact> swarm;
  for (const auto& c : list) {
    for (const address& a : c.addresses) {
      if (c.key != identity_->key()) swarm.push_back({c.key, a});
    }
  }
  if (!swarm.empty()) node_->join(now, swarm);
  const job_directory directory(job_->spec().id, job_->secret());
  const unix_seconds wall = machine_.clock().wall();
  published_ = std::max<std::uint64_t>(published_ + 1, static_cast<std::uint64_t>(wall));
  node_->publish(now,
                 overlay::make_record(
                     directory.signer, directory.where, published_,
                     wall + std::chrono::seconds(detail::directory_lifetime).count(), wire::encode(list)),
                 [](const result<std::size_t>&) {});
  publish_later(detail::directory_interval);
  arm_node();
}

// --- the end ---

P2PDVM_DECL void peer::wish() {
  if (job_) job_->wish();
}

P2PDVM_DECL void peer::leave() {
  if (!job_ || ended_) return on_left();
  job_->leave();
}

P2PDVM_DECL void peer::stop() {
  if (!job_ || ended_ || job_->record().state != checkpoint::job_state::running) return on_left();
  stop_at_ = job_->record().committed.epoch;
  job_->hold_still();
  if (job_->lacks_majority()) return on_left();  // there will be no last checkpoint
  job_->wish();
  linger_timer_.after(std::chrono::seconds(5), [this] { call_.may_go(); });
}

P2PDVM_DECL void peer::on_left() {
  going_ = true;
  linger_timer_.after(std::chrono::seconds(2), [this] { call_.may_go(); });
  check_may_go();
}

P2PDVM_DECL void peer::on_end(const result<job_results>& results) {
  event e;
  e.kind = results.ok() ? event_kind::done : event_kind::failed;
  if (!results.ok()) {
    e.text = results.error().message();
  } else if (!(*results).empty()) {
    e.text = digest_of(*results).hex();
  }
  context_->tell(std::move(e));
  finish(results);
}

P2PDVM_DECL void peer::finish(const result<job_results>& results) {
  if (std::exchange(ended_, true)) return;
  going_ = true;
  if (call_.ended) call_.ended(results);
  linger_timer_.after(setting_.linger_max, [this] { call_.may_go(); });
  machine_.clock().call_at(machine_.clock().now(), [this, alive = alive_] {
    if (*alive) check_may_go();
  });
}

P2PDVM_DECL void peer::on_end_seen(const node_id&) {
  if (ended_) check_may_go();
}

P2PDVM_DECL void peer::check_may_go() {
  if (!going_) return;
  if (exchange_ && job_ && job_->is_member()) {
    const auto state = job_->record().state;
    const bool over = state == checkpoint::job_state::done || state == checkpoint::job_state::failed;
    if (over && !job_->end_seen_by_all()) return;
  }
  // What is still queued for others must go out first.
  linger_timer_.after(std::chrono::milliseconds(exchange_ ? 200 : 0), [this] { call_.may_go(); });
}

}  // namespace p2pdvm::runtime
