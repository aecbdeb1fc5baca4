"""Resources, prompts, completion and subscriptions in the SDK's types; what they are is told elsewhere."""

import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import mcp_types as wire
from mcp.shared.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    event_to_notification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import Scope

from registry.errors import TenancyError
from server.access_refused import Refused
from server.announcements import Announcement, Subscription, Updated, Wanted
from server.beyond import Again, Beyond
from server.completion import Completed, NotListed
from server.cursors import refuse_cursor
from server.http_intake import PLACE
from server.mcp_edge import answered, no_resource, rpc_error, scope_of
from server.principal import Principal
from server.prompts import Prompt, prompts_of, text_of
from server.resources import MIME, Resource
from server.toolbox import Answer, Call, Toolbox, failure

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

PrincipalOf: TypeAlias = Callable[[Scope | None], Principal]
Context: TypeAlias = Any
"""The SDK leaves the type of a context's request open."""
_LOOK_AGAIN: Final = 2.0
"""Seconds after which it is asked whether a listener is still let in, and nothing that is older is told."""


class BeyondTools:
    """Answers what is asked beside tools.

    Args:
        beyond: Knows the answers.
        toolbox: Admits and counts requests.
        principal_of: Tells who sent a request.
        again: Tells it once more, later.
    """

    def __init__(self, beyond: Beyond, toolbox: Toolbox, principal_of: PrincipalOf, again: Again) -> None:
        self._beyond = beyond
        self._toolbox = toolbox
        self._principal_of = principal_of
        self._again = again

    @property
    def handlers(self) -> dict[str, Any]:
        """What the SDK's server is made with, by the names of its arguments."""
        return {
            "on_list_resources": self.list_resources,
            "on_list_resource_templates": self.list_templates,
            "on_read_resource": self.read_resource,
            "on_list_prompts": self.list_prompts,
            "on_get_prompt": self.get_prompt,
            "on_completion": self.complete,
            "on_subscriptions_listen": self.listen,
        }

    async def list_resources(
        self, context: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListResourcesResult:
        """Return a page of what the caller may read."""
        work = self._beyond.resources.page(self._caller(context), params.cursor if params else None)
        page = await answered(context, work)
        return wire.ListResourcesResult(resources=list(map(_resource, page.resources)), next_cursor=page.next)

    async def list_templates(
        self, context: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListResourceTemplatesResult:
        """Return the kinds of what the caller may read."""
        require_no_cursor(params)
        known = self._beyond.resources.templates(self._caller(context))
        return wire.ListResourceTemplatesResult(resource_templates=list(map(_template, known)))

    async def read_resource(self, context: Context, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
        """Return what the resource's tool tells."""
        answer = await answered(context, self._read(params.uri, Call(principal=self._caller(context))))
        if answer.is_error:
            raise no_resource(answer, params.uri, context.protocol_version)
        contents = wire.TextResourceContents(uri=params.uri, mime_type=MIME, text=answer.payload.decode())
        return wire.ReadResourceResult(contents=[contents])

    async def list_prompts(
        self, context: Context, params: wire.PaginatedRequestParams | None
    ) -> wire.ListPromptsResult:
        """Return the prompts that the caller can use."""
        require_no_cursor(params)
        return wire.ListPromptsResult(prompts=list(map(_prompt, prompts_of(self._caller(context)))))

    async def get_prompt(self, context: Context, params: wire.GetPromptRequestParams) -> wire.GetPromptResult:
        """Return a prompt's text."""

        async def write() -> tuple[Prompt, str]:
            caller = self._caller(context)
            async with self._toolbox.request("prompts_get", caller):
                return text_of(params.name, params.arguments or {}, caller)

        prompt, text = await answered(context, write())
        message = wire.PromptMessage(role="user", content=wire.TextContent(type="text", text=text))
        return wire.GetPromptResult(description=prompt.description, messages=[message])

    async def complete(self, context: Context, params: wire.CompleteRequestParams) -> wire.CompleteResult:
        """Return what an argument may be."""
        chosen = (params.context.arguments if params.context else None) or {}
        call = Call(principal=self._caller(context))
        of, named = params.argument.name, params.argument.value
        completion = self._beyond.completion
        if isinstance(params.ref, wire.ResourceTemplateReference):
            work = completion.of_template(params.ref.uri, of, named, chosen, call)
        else:
            work = completion.of_prompt(params.ref.name, of, named, chosen, call)
        return _completed(await answered(context, _listed(work)))

    async def listen(
        self, context: Context, params: wire.SubscriptionsListenRequestParams
    ) -> wire.SubscriptionsListenResult:
        """Tell what changes until the client leaves, its token is taken back, or the server stops."""
        filtered = params.notifications
        wanted = Wanted(
            list_changed=bool(filtered.resources_list_changed), uris=tuple(filtered.resource_subscriptions or ())
        )
        meta = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        with ExitStack() as ending:
            subscription = await answered(context, self._subscribe(self._caller(context), wanted, ending))
            _leave_place(scope_of(context))
            await context.session.send_notification(_acknowledged(subscription, meta), context.request_id)
            await self._tell(context, subscription, meta)
        return wire.SubscriptionsListenResult(_meta=meta)

    async def _tell(self, context: Context, subscription: Subscription, meta: dict[str, Any]) -> None:
        looked = time.monotonic()
        while await subscription.goes_on(_LOOK_AGAIN):
            if time.monotonic() - looked >= _LOOK_AGAIN:
                try:
                    subscription.meant_for(await self._again(scope_of(context)))
                except Refused:
                    return
                looked = time.monotonic()
            for each in subscription.heard():
                await context.session.send_notification(event_to_notification(_event(each), meta), context.request_id)

    async def _subscribe(self, caller: Principal, wanted: Wanted, ending: ExitStack) -> Subscription:
        # Invariant: whatever happens to who waits for this, a subscription that was made ends with `ending`.
        async with self._toolbox.request("subscriptions_listen", caller):
            return ending.enter_context(self._beyond.announcements.subscribe(caller, wanted))

    async def _read(self, uri: str, call: Call) -> Answer:
        try:
            return await self._beyond.resources.read(uri, call)
        except TenancyError as error:
            return failure(error)

    def _caller(self, context: Context) -> Principal:
        return self._principal_of(scope_of(context))


def require_no_cursor(params: wire.PaginatedRequestParams | None) -> None:
    """Raise the protocol's error if a list of one page is to be gone on with."""
    try:
        refuse_cursor(params.cursor if params else None)
    except TenancyError as error:
        raise rpc_error(failure(error)) from None


def tell_what_changes(server: "Server[Any]") -> None:
    """Have `server/discover` say which lists may change: a caller's tools and prompts hang on their token alone."""

    async def discover(context: Context, _params: wire.RequestParams | None) -> wire.DiscoverResult:
        capabilities = server.get_capabilities(protocol_version=context.protocol_version)
        for fixed in (capabilities.tools, capabilities.prompts):
            if fixed is not None:
                fixed.list_changed = False
        return wire.DiscoverResult(
            supported_versions=list(MODERN_PROTOCOL_VERSIONS),
            capabilities=capabilities,
            instructions=server.instructions,
        )

    server.add_request_handler("server/discover", wire.RequestParams, discover)


async def _listed(work: Coroutine[Any, Any, Completed]) -> Completed:
    try:
        return await work
    except NotListed as not_listed:
        raise rpc_error(Answer(not_listed.payload, is_error=True)) from None


def _leave_place(scope: Scope | None) -> None:
    """Hold none of the places that requests in flight have: who listens holds one for hours, and nothing else."""
    if scope is not None:
        scope.get(PLACE, _nothing)()


def _nothing() -> None:
    pass


def _resource(known: Resource) -> wire.Resource:
    return wire.Resource(
        uri=known.uri, name=known.name, title=known.title, description=known.description, mime_type=MIME
    )


def _template(known: Resource) -> wire.ResourceTemplate:
    return wire.ResourceTemplate(
        uri_template=known.uri, name=known.name, title=known.title, description=known.description, mime_type=MIME
    )


def _prompt(known: Prompt) -> wire.Prompt:
    arguments = [
        wire.PromptArgument(name=each.name, description=each.description, required=each.required)
        for each in known.arguments
    ]
    return wire.Prompt(name=known.name, title=known.title, description=known.description, arguments=arguments)


def _completed(known: Completed) -> wire.CompleteResult:
    completion = wire.Completion(values=list(known.values), total=known.total, has_more=known.more)
    return wire.CompleteResult(completion=completion)


def _acknowledged(subscription: Subscription, meta: dict[str, Any]) -> wire.SubscriptionsAcknowledgedNotification:
    honoured = subscription.honoured
    filtered = wire.SubscriptionFilter(
        resources_list_changed=honoured.list_changed or None, resource_subscriptions=list(honoured.uris) or None
    )
    params = wire.SubscriptionsAcknowledgedNotificationParams(notifications=filtered, _meta=meta)
    return wire.SubscriptionsAcknowledgedNotification(params=params)


def _event(announcement: Announcement) -> ServerEvent:
    return ResourceUpdated(announcement.uri) if isinstance(announcement, Updated) else ResourcesListChanged()
