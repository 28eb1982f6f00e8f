"""The broker of a single node: a channel's own object gives the seqs, the store is the log, sending out is a call.

What a crash costs, by history:

    durable  numbered → stored → delivered and acknowledged. Killed before "stored": nobody saw it, the sender resends
             with the same key. Killed after: the resend finds it in the store. A store that failed without saying
             whether it kept a message is asked where the channel ends before anything else gets a place there; what it
             kept is delivered then.
    recent   numbered → delivered and acknowledged → saved within `broker.save_seconds`. Killed in between: the newest
             moments are gone; the channel is reborn under a new epoch, so no reader is told that it missed nothing.
    none     numbered → delivered. Nothing is kept.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
import trio

from chatd.broker import EXPIRED_KIND, RETRY_SECONDS, BrokerStatistics, Deliver, Draft, Published, Recovery, Refused
from chatd.broker.commit import Batch, Commit, Placed
from chatd.broker.keys import Keys, KnownKey, known_key
from chatd.broker.log import Log
from chatd.broker.logs import Logs, TooManyChannels
from chatd.broker.saver import Saver
from chatd.broker.unsure import Unsure
from chatd.config import Namespace
from chatd.counters import Latency
from chatd.settings import Settings
from protocol.body import json_body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import Store, StoreError
from storage.records import StoredMessage

_DAY_MILLISECONDS = 86_400_000

# How often recovering reads on from the store before it gives up on a channel that is written to faster.
_RECOVER_ROUNDS = 8

# How often a publish opens its channels, which others who open theirs may push out again, before it gives up.
_OPEN_ROUNDS = 8


_Answer = Published | Refused
_log = structlog.get_logger("broker")


class MemoryBroker:
    """Implements `Broker` for one node."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        rules: Callable[[ChannelName], Namespace],
        deliver: Deliver,
        in_use: Callable[[ChannelName], bool],
        clock: Callable[[], float],
        new_epoch: Callable[[], Epoch],
        commit_latency: Latency,
    ) -> None:
        self._store = store
        self._settings = settings
        self._config = settings.config.broker
        self._deliver = deliver
        self._clock = clock  # Unix seconds
        self._commit_latency = commit_latency
        self._logs = Logs(store, self._config, rules, in_use, clock, new_epoch, self._opened)
        self._keys = Keys(self._config.dedupe_keys)
        self._saver = Saver(store, self._config)
        self._unsure = Unsure()
        self._published = 0
        self._duplicates = 0
        self._waiting = 0
        self._commits: dict[Commit, float] = {}  # that somebody waits for, and since when

    # Its life.

    async def start(self) -> None:
        """Find out what the last process left; before anything else."""
        await self._logs.start()

    async def run(self) -> None:
        """Save `recent` channels and forget idle ones, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._saver.run)
            nursery.start_soon(self._logs.run)
            nursery.start_soon(self._patience_loop)
            nursery.start_soon(self._settle_loop)

    async def stop(self) -> None:
        """Save what is left; after this nothing may be published."""
        await self._saver.save_all()
        await self._logs.all_saved()

    # Publishing.

    async def publish(self, drafts: Sequence[Draft]) -> list[_Answer]:
        """Place drafts, in their order; return one answer for each."""
        logs = self._logs.known
        try:
            for draft in drafts:
                if draft.retry or draft.channel not in logs:
                    await self._prepare(drafts)
                    break
        except (TooManyChannels, StoreError) as error:
            return [Refused(ErrorCode.UNAVAILABLE, str(error), RETRY_SECONDS)] * len(drafts)
        # From here to `submit` nothing waits: what is numbered first is stored first.
        batch = self._place(drafts)
        if batch.commit is not None:
            self._submit(batch.commit)
        if batch.unstored is not None:
            await self._settle(batch.answers, batch.unstored)
        return batch.answers

    async def _settle(self, answers: list[_Answer], unstored: Mapping[int, Placed]) -> None:
        """Wait for the store, and put in the answers that depend on it."""
        for commit in {placed.commit for placed in unstored.values()}:
            if not commit.is_done:
                self._commits.setdefault(commit, trio.current_time())
                await commit.wait()
        for place, placed in unstored.items():
            answers[place] = placed.answer()

    def publish_at_once(self, drafts: Sequence[Draft]) -> list[tuple[StoredMessage, Draft]]:
        """Place drafts of one channel and send them out, in their order, up to the first that has to wait."""
        log = self._logs.known.get(drafts[0].channel)
        if log is None or log.history == "durable":
            return []
        now = self._now()
        keys = self._keys
        keys.turn()
        younger, older = keys.younger, keys.older
        channel, epoch, seq = log.channel, log.epoch, log.seq
        placed: list[tuple[StoredMessage, Draft]] = []
        recent = log.recent
        for draft in drafts:
            key = (draft.sender, draft.key)
            if key in younger or key in older or draft.retry or draft.channel != channel:
                break
            seq += 1  # type: ignore[assignment]  # a NewType's call would cost more than all of this line
            younger[key] = KnownKey(channel, epoch, seq, now)
            message = draft.placed(epoch, seq, now)
            recent.append(message)  # with `delivered` below, what `Log.arrived` does: a call less for each
            placed.append((message, draft))
        if placed:
            log.seq = log.delivered = seq
            log.used_at = now
            if log.history == "recent":
                self._saver.add(log)
            self._published += len(placed)
            self._deliver(placed)
        return placed

    def publish_soon(self, draft: Draft, done: Callable[[_Answer], None]) -> bool:
        """Place one draft of a durable channel and call back with its answer when it is stored; see `Broker`."""
        log = self._logs.known.get(draft.channel)
        key = (draft.sender, draft.key)
        if log is None or log.history != "durable" or draft.retry or self._keys.get(key) is not None:
            return False
        self._keys.turn()
        message = self._number(log, draft, self._now())
        commit = Commit(self._committed)
        self._keys.younger[key] = self._keep_waiting(log, message, draft, commit)
        self._submit(commit)
        if commit.is_done:
            return False  # the store did not even begin; `publish` says so
        self._commits[commit] = trio.current_time()
        placed = Placed(message.place, commit, False)
        commit.tell = lambda: done(placed.answer())
        return True

    async def _prepare(self, drafts: Sequence[Draft]) -> None:
        """Do what has to wait: bring every channel into memory, and ask the store for keys that were forgotten."""
        for draft in drafts:
            if draft.retry and self._keys.get((draft.sender, draft.key)) is None:
                await self._find(draft)
        for _ in range(_OPEN_ROUNDS):
            missing = [draft.channel for draft in drafts if draft.channel not in self._logs.known]
            if not missing:
                return
            for channel in missing:
                await self._logs.open(channel)
        raise TooManyChannels  # opening one of them makes room by forgetting another

    async def _find(self, draft: Draft) -> None:
        since = self._now() - self._config.dedupe_days * _DAY_MILLISECONDS
        found = await self._store.find(draft.sender, draft.key, since)
        if found is not None:
            self._keys.put((draft.sender, draft.key), known_key(found.channel, found.place))

    def _place(self, drafts: Sequence[Draft]) -> Batch:
        """Number drafts, and send out those that need not be stored first. The hot path of publishing."""
        now = self._now()
        keys = self._keys
        keys.turn()
        younger, older = keys.younger, keys.older
        batch = Batch()
        answers = batch.answers
        delivered: list[tuple[StoredMessage, Draft]] = []
        log: Log | None = None
        for draft in drafts:
            key = (draft.sender, draft.key)
            known = younger.get(key) or older.get(key)
            if known is not None:
                self._repeat(draft, known, batch)
                continue
            if log is None or log.channel != draft.channel:
                log = self._logs.known[draft.channel]
                if log.history == "recent":
                    self._saver.add(log)
            message = self._number(log, draft, now)
            if log.history == "durable":
                younger[key] = self._store_first(log, message, draft, batch)
                continue
            younger[key] = KnownKey(draft.channel, message.epoch, message.seq, now)
            log.arrived(message)
            delivered.append((message, draft))
            answers.append(Published(message.place))
        self._published += len(delivered)
        if delivered:
            self._deliver(delivered)
        return batch

    def _number(self, log: Log, draft: Draft, now: int) -> StoredMessage:
        """Give a draft the next place of its channel."""
        log.used_at = now
        log.seq += 1  # type: ignore[assignment]  # a NewType's call would cost more than all of this line
        return draft.placed(log.epoch, log.seq, now)

    def _store_first(self, log: Log, message: StoredMessage, draft: Draft, batch: Batch) -> KnownKey:
        """Note that a numbered message goes to the store before anybody sees it; return what its key is known by."""
        commit = batch.commit
        if commit is None:
            commit = batch.commit = Commit(self._committed)
        batch.wait_for(Placed(message.place, commit, False))
        return self._keep_waiting(log, message, draft, commit)

    def _keep_waiting(self, log: Log, message: StoredMessage, draft: Draft, commit: Commit) -> KnownKey:
        """Put a numbered message in what goes to the store; return what its key is known by."""
        log.waiting += 1
        self._published += 1
        commit.items.append((log, message, draft))
        return KnownKey(draft.channel, message.epoch, message.seq, message.at, commit)

    def _repeat(self, draft: Draft, known: KnownKey, batch: Batch) -> None:
        """Answer a draft whose key is known as it was answered the first time."""
        self._duplicates += 1
        commit = known.commit
        if known.channel != draft.channel:
            refused = Refused(ErrorCode.KEY_REUSED, "this key was used for a message of another channel")
            batch.answers.append(refused)
        elif commit is not None and not commit.is_done:
            batch.wait_for(Placed(known.place, commit, True))
        else:
            batch.answers.append(Published(known.place, duplicate=True))

    def _submit(self, commit: Commit) -> None:
        try:
            self._store.submit([message for _, message, _ in commit.items], commit.done)
        except StoreError as error:
            # Nothing was taken, and nobody else was given a place meanwhile: the places go back.
            for log, _, _ in reversed(commit.items):
                log.seq = Seq(log.seq - 1)
            self._published -= len(commit.items)
            self._forget_commit(commit)
            commit.refuse(error)
        else:
            self._waiting += len(commit.items)

    def _committed(self, commit: Commit) -> None:
        """Deliver what is stored, in the order of the seqs; or forget what is not. Called on the trio thread."""
        self._waiting -= len(commit.items)
        self._commits.pop(commit, None)
        if commit.error is not None:
            # What was numbered after these fails too (the store promises it), so the channels start again from the
            # store's last seq, and no reader sees a hole.
            for log, message, draft in commit.items:
                if self._logs.known.get(log.channel) is log:
                    del self._logs.known[log.channel]
                if log.channel not in self._logs.known:
                    self._unsure.add(message, draft)
            self._forget_commit(commit)
            _log.error("store failed", error=str(commit.error), messages=len(commit.items))
            return
        now = self._now()
        for log, message, _ in commit.items:
            log.waiting -= 1
            log.arrived(message)
            self._commit_latency.observe(max(0, now - message.at) / 1000)
        self._deliver([(message, draft) for _, message, draft in commit.items])

    def _opened(self, log: Log) -> None:
        """Deliver what the store kept without saying so, before anything else happens in the channel."""
        kept = self._unsure.settle(log)
        for message, _ in kept:
            self._keys.put((message.sender, message.key), known_key(log.channel, message.place))
        if kept:
            _log.info("the store had kept it", channel=log.channel, messages=len(kept))
            self._deliver(kept)

    async def _settle_loop(self) -> None:
        """Open channels of which that is not known, so that their readers need not wait for the next message."""
        while True:
            await trio.sleep(RETRY_SECONDS)
            for channel in self._unsure:
                try:
                    await self._logs.open(channel)
                except (StoreError, TooManyChannels):
                    break

    def _forget_commit(self, commit: Commit) -> None:
        for log, message, _ in commit.items:
            log.waiting -= 1
            self._keys.discard((message.sender, message.key))

    # Reading.

    async def recover(
        self, channel: ChannelName, since: tuple[Epoch, Seq] | None, join: Callable[[], None]
    ) -> Recovery:
        """Return what came after `since`, and call `join` at exactly that point of the channel.

        Raises:
            StoreError: The store cannot be read; `join` was not called.
            TooManyChannels: The channel has no room in memory; `join` was not called.
        """
        limit = self._settings.limits.recover_messages
        messages: list[StoredMessage] = []
        for _ in range(_RECOVER_ROUNDS):
            log = await self._logs.open(channel)
            if since is None:
                join()
                return Recovery(log.epoch, log.delivered, True, [])
            # The store may have been ahead of what was delivered; that is still to come.
            messages = [message for message in messages if message.seq <= log.delivered]
            seen = messages[-1].seq if messages else since[1]
            if since[0] != log.epoch or not 0 <= log.delivered - seen <= limit - len(messages):
                break
            rest = log.after(seen)
            if rest is not None:
                join()
                return Recovery(log.epoch, log.delivered, True, messages + rest)
            if log.history != "durable":
                break
            page = await self._store.history(channel, after=seen, limit=limit - len(messages))
            if not page or not _follows(page, since[0], seen):
                break
            messages += page
        log = await self._logs.open(channel)
        join()
        return Recovery(log.epoch, log.delivered, False, [])

    async def history(
        self, channel: ChannelName, *, before: Seq | None, after: Seq | None, limit: int
    ) -> list[StoredMessage]:
        """Read a page of the channel, in rising seq.

        Raises:
            StoreError: The store cannot be read.
            TooManyChannels: The channel has no room in memory.
        """
        log = await self._logs.open(channel)
        if log.history == "durable":
            is_last = before is None and after is None
            if is_last and (len(log.recent) >= limit or len(log.recent) == log.delivered):
                return log.page(before=None, after=None, limit=limit)
            return await self._store.history(channel, before=before, after=after, limit=limit)
        return await self._page(log, before, after, limit)

    async def _page(self, log: Log, before: Seq | None, after: Seq | None, limit: int) -> list[StoredMessage]:
        """Read a page from memory, and what is older than memory from the store.

        What memory has is taken first, since new messages may push it out while the store is read; of what both have
        the store's rows are not used, for not all of them may be saved yet.
        """
        here = log.page(before=before, after=after, limit=limit)
        oldest = log.oldest
        if oldest <= 1:
            return here  # all that there ever was
        if after is not None:
            if after >= oldest - 1:
                return here
            rows = await self._store.history(log.channel, after=after, limit=limit)
            return ([row for row in rows if row.seq < oldest] + here)[:limit]
        if len(here) >= limit:
            return here
        older_than = oldest if before is None else min(before, oldest)
        return await self._store.history(log.channel, before=older_than, limit=limit - len(here)) + here

    async def forget(self, channel: ChannelName, sender: UserId, key: str) -> bool:
        """Empty the message of this sender and key, in memory and store; its place stays, with kind "expired".

        Returns False if it is being stored at the moment, and must be asked for again.
        """
        log = self._logs.known.get(channel)
        found = None if log is None else log.find(sender, key)
        if found is None:
            found = await self._store.find(sender, key, 0)
            log = self._logs.known.get(channel)
        if found is None or found.channel != channel:
            return log is None or not log.waiting
        ended = msgspec.structs.replace(found, body=json_body({}), kind=EXPIRED_KIND, revised_at=self._now())
        if log is not None:
            log.revise(ended)
        if log is None or log.history != "none":
            await self._store.revise(ended)
        return log is None or log.history != "recent" or log.saved >= ended.seq

    async def _patience_loop(self) -> None:
        """Let nobody wait for the store much longer than `broker.publish_seconds`.

        One loop for all of them: a deadline for each publish would cost more than the rest of its waiting.
        """
        patience = self._config.publish_seconds
        while True:
            await trio.sleep(patience / 10)
            given_before = trio.current_time() - patience
            for commit in [commit for commit, since in self._commits.items() if since <= given_before]:
                del self._commits[commit]
                commit.give_up()

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def statistics(self) -> BrokerStatistics:
        """Return counts for /metrics."""
        return BrokerStatistics(
            published=self._published,
            duplicates=self._duplicates,
            open_channels=len(self._logs),
            waiting=self._waiting,
        )


def _follows(page: Sequence[StoredMessage], epoch: Epoch, seen: Seq) -> bool:
    """Tell whether the messages are of one epoch and come right after `seen`, without a hole."""
    return all(
        message.epoch == epoch and message.seq == expected for expected, message in enumerate(page, start=seen + 1)
    )
