"""Where a follower stands: its phase, the reason, and what it has found. Each change is logged once."""

from datetime import UTC, datetime

import structlog

from projections.diagnosis import Finding
from projections.phase import STUCK, Phase
from registry.errors import LogDiverged, RegistryUnavailable, TenancyError


class Standing:
    """What one follower is doing. Only the follower changes it."""

    def __init__(self, logger: structlog.typing.FilteringBoundLogger) -> None:
        self.phase = Phase.CONNECTING
        self.reason: str | None = None
        self.found: Finding | None = None
        self.found_at: datetime | None = None
        self.findings: dict[Finding, int] = {}
        self._too_old = False
        self._not_over: Finding | None = None
        self._halted: type[TenancyError] = RegistryUnavailable
        self._logger = logger

    def enter(self, phase: Phase, reason: str | None = None, *, position: object) -> None:
        """Change the phase, and say so once, however often the reason is put anew."""
        if phase is Phase.FOLLOWING:
            self.got_over()
        entered = (phase, reason is None) != (self.phase, self.reason is None)
        self.phase, self.reason = phase, reason
        if not entered:
            return
        log = self._logger.error if phase in STUCK else self._logger.info if reason is None else self._logger.warning
        log("registry " + phase.replace("_", " "), phase=phase, reason=reason, position=str(position))

    def halt(self, error: TenancyError, *, position: object) -> None:
        """Stop for what `error` says; who is refused from now on is told the same."""
        self._halted = type(error)
        self.enter(Phase.HALTED, error.message, position=position)

    def finds(self, finding: Finding, reason: str, *, position: object) -> None:
        """Note what was found: once, however often it is found again before the replica has got over it."""
        if finding.is_loss and finding is self._not_over:
            return
        self.found = self._not_over = finding
        self.found_at = datetime.now(UTC).replace(microsecond=0)
        self.findings[finding] = self.findings.get(finding, 0) + 1
        self._logger.warning("log does not link", finding=finding, reason=reason, position=str(position))

    def ages(self, reason: str | None, *, position: object) -> None:
        """Note why what is held is too old to be served, None if it is not, and say so once each way."""
        too_old = reason is not None
        if too_old is self._too_old:
            return
        self._too_old = too_old
        if too_old:
            self._logger.warning("replica too old to serve", reason=reason, position=str(position))
        else:
            self._logger.info("replica serves again", position=str(position))

    def got_over(self) -> None:
        """Note that what was found is no more: the next loss is another one, of whatever kind."""
        self._not_over = None

    def require_following(self) -> None:
        """Refuse what needs the log while it cannot be followed, with the reason."""
        try:
            self._require_following()
        except TenancyError as error:
            error.names_anybody = True
            raise

    def _require_following(self) -> None:
        match self.phase:
            case Phase.FOLLOWING | Phase.CUT_OFF:
                return
            case Phase.DIVERGED:
                raise LogDiverged(self.reason or "The log is not the one this replica has read.")
            case Phase.HALTED:
                raise self._halted(self.reason or "The log has an entry that cannot be read.")
            case Phase.RESTORING:
                raise RegistryUnavailable(f"The log is being restored; try again in a few seconds. {self.reason}")
            case Phase.CONNECTING | Phase.REPLAYING:
                raise RegistryUnavailable(
                    f"This replica has not read the whole registry yet. {self.reason or 'Try again.'}"
                )
