//! What follows a request through the engine and its runners: the id in log lines about it, and the spans that measure it.
//!
//! Both belong to the task that works on the request, and are found there by whatever is called ([`current`]): so a host function
//! needs no parameter for them. Between tasks they travel in the request's own headers, `x-rivet-ray-id` and `traceparent` (W3C Trace
//! Context); a message that has no headers [carries](Carried) both.
//!
//! A span exists only for what is sampled. For all else there is nothing: no allocation, no time taken. Nor for what a trace has too
//! much of: whoever gives spans their numbers says when it is enough.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue};
use pin_project_lite::pin_project;

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What others add to a `traceparent`: worth nothing without it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Of a span; one that would have more keeps the first.
pub const ATTRIBUTES_MAX: usize = 16;
/// `00-` trace `-` span `-` flags.
const TRACEPARENT_BYTES: usize = 55;
const SAMPLED: u8 = 1;

/// Where a span stands in its trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpanContext {
    pub trace_id: u128,
    pub span_id: u64,
    pub is_sampled: bool,
}

impl SpanContext {
    /// As a caller sent it. None: it is to be treated as if there were none, says the standard.
    pub fn parse(header: &HeaderValue) -> Option<SpanContext> {
        let text = header.to_str().ok()?;
        let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        let mut parts = text.splitn(5, '-');
        let (version, trace, span, flags, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next());
        let lengths = (version.len(), trace.len(), span.len(), flags.len());
        if lengths != (2, 32, 16, 2) || ![version, trace, span, flags].into_iter().all(is_plain) {
            return None;
        }
        // A later version may say more at the end; `ff` is never one.
        if version == "ff" || (version == "00" && rest.is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(SpanContext { trace_id, span_id, is_sampled: flags & SAMPLED != 0 })
    }

    /// For whoever is called.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).expect("digits, letters and hyphens make a header")
    }
}

impl fmt::Display for SpanContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

/// Which side of a call a span measures, in OpenTelemetry's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Server,
    Client,
    Internal,
    /// Works on a message that nobody waits for.
    Consumer,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Text(String),
    Whole(i64),
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_string())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that is over.
#[derive(Clone, PartialEq, Debug)]
pub struct Finished {
    pub context: SpanContext,
    pub parent: Option<u64>,
    /// The parent is in another process.
    pub parent_is_remote: bool,
    /// What it goes back to, in another trace.
    pub link: Option<SpanContext>,
    pub kind: Kind,
    pub name: &'static str,
    pub began: SystemTime,
    pub took: Duration,
    /// Never what a client sent or an actor holds: no tokens, bodies, keys or values.
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Where spans go when they are over, and where their numbers come from. Nothing of it waits.
pub trait Spans: Send + Sync {
    fn finished(&self, span: Finished);
    /// The number of one more span of this trace: random, and not 0. None: the trace has as many as it may.
    fn begin(&self, trace_id: u128) -> Option<u64>;
    /// The number of a new trace, if it is sampled: of what begins here, and was caused by no request.
    fn sample(&self) -> Option<u128>;
}

/// What a child needs of its parent.
#[derive(Clone)]
pub struct Parent {
    spans: Arc<dyn Spans>,
    context: SpanContext,
    is_remote: bool,
}

impl Parent {
    /// Of a request that came with this header; none unless it is sampled.
    pub fn remote(spans: &Arc<dyn Spans>, header: &HeaderValue) -> Option<Parent> {
        Parent::of(spans, SpanContext::parse(header)?)
    }

    /// A span that somebody else measures; none unless it is sampled.
    pub fn of(spans: &Arc<dyn Spans>, context: SpanContext) -> Option<Parent> {
        context.is_sampled.then(|| Parent { spans: spans.clone(), context, is_remote: true })
    }

    pub fn context(&self) -> SpanContext {
        self.context
    }

    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        let parent = Some((self.context.span_id, self.is_remote));
        Span::begin(self.spans.clone(), self.context.trace_id, parent, name, kind)
    }
}

/// A span that is being measured, or nothing. It ends when it is dropped.
#[derive(Default)]
pub struct Span(Option<Box<Open>>);

struct Open {
    spans: Arc<dyn Spans>,
    since: Instant,
    so_far: Finished,
}

impl Span {
    pub const fn none() -> Span {
        Span(None)
    }

    /// The first of a trace, in this process or anywhere. `parent`: its number, and whether it is in another process.
    pub fn begin(spans: Arc<dyn Spans>, trace_id: u128, parent: Option<(u64, bool)>, name: &'static str, kind: Kind) -> Span {
        let Some(span_id) = spans.begin(trace_id) else { return Span::none() };
        let context = SpanContext { trace_id, span_id, is_sampled: true };
        let so_far = Finished {
            context,
            parent: parent.map(|(id, _)| id),
            parent_is_remote: parent.is_some_and(|(_, is_remote)| is_remote),
            link: None,
            kind,
            name,
            began: SystemTime::now(),
            took: Duration::ZERO,
            attributes: Vec::new(),
            error: None,
        };
        Span(Some(Box::new(Open { spans, since: Instant::now(), so_far })))
    }

    /// The first of a trace of its own, if that is sampled.
    pub fn root(spans: &Arc<dyn Spans>, name: &'static str, kind: Kind) -> Span {
        spans.sample().map_or(Span::none(), |trace_id| Span::begin(spans.clone(), trace_id, None, name, kind))
    }

    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    pub fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|open| open.so_far.context)
    }

    pub fn as_parent(&self) -> Option<Parent> {
        let open = self.0.as_ref()?;
        Some(Parent { spans: open.spans.clone(), context: open.so_far.context, is_remote: false })
    }

    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        self.as_parent().map_or(Span::none(), |parent| parent.child(name, kind))
    }

    /// The value is made only if somebody will see it.
    pub fn set<V: Into<Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(open) = &mut self.0
            && open.so_far.attributes.len() < ATTRIBUTES_MAX
        {
            open.so_far.attributes.push((name, value().into()));
        }
    }

    /// What it goes back to, if that is in a trace too.
    pub fn link(&mut self, to: Option<SpanContext>) {
        if let Some(open) = &mut self.0 {
            open.so_far.link = to;
        }
    }

    pub fn fail(&mut self, why: impl FnOnce() -> String) {
        if let Some(open) = &mut self.0 {
            open.so_far.error = Some(why());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let Open { spans, since, so_far } = *open;
            spans.finished(Finished { took: since.elapsed(), ..so_far });
        }
    }
}

/// What follows the request that a task works on.
#[derive(Clone, Default)]
pub struct Followed {
    pub ray: Option<HeaderValue>,
    pub parent: Option<Parent>,
}

impl Followed {
    /// What is inside of this span follows it, and the request all the same.
    pub fn inside(span: &Span) -> Followed {
        let outer = current(Followed::clone);
        Followed { parent: span.as_parent().or(outer.parent), ray: outer.ray }
    }
}

/// The same on its way to another task or process, with a message that has no headers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Carried {
    pub ray: Option<HeaderValue>,
    /// Of the span that the message belongs to.
    pub context: Option<SpanContext>,
}

impl Carried {
    /// What follows the current request.
    pub fn current() -> Carried {
        current(|followed| Carried { ray: followed.ray.clone(), context: followed.parent.as_ref().map(Parent::context) })
    }

    /// Where it has arrived.
    pub fn followed(self, spans: Option<&Arc<dyn Spans>>) -> Followed {
        let parent = spans.zip(self.context).and_then(|(spans, context)| Parent::of(spans, context));
        Followed { ray: self.ray, parent }
    }
}

thread_local! {
    static CURRENT: RefCell<Followed> = const { RefCell::new(Followed { ray: None, parent: None }) };
}

/// Looks at what follows the current request.
pub fn current<R>(look: impl FnOnce(&Followed) -> R) -> R {
    CURRENT.with(|current| look(&current.borrow()))
}

/// The span that the current request is in, if it is sampled.
pub fn parent() -> Option<Parent> {
    current(|followed| followed.parent.clone())
}

/// A span inside of the current one.
pub fn child(name: &'static str, kind: Kind) -> Span {
    current(|followed| followed.parent.as_ref().map_or(Span::none(), |parent| parent.child(name, kind)))
}

/// From now on this follows what the task works on; [`follow`] keeps it between polls.
pub fn replace(followed: Followed) -> Followed {
    CURRENT.with(|current| current.replace(followed))
}

/// What is done here is followed by this, and by nothing else.
pub fn within<R>(mut followed: Followed, work: impl FnOnce() -> R) -> R {
    let _entered = Entered::new(&mut followed);
    work()
}

/// Runs this with something that follows it, wherever it is polled.
pub fn follow<F: Future>(followed: Followed, future: F) -> Follow<F> {
    Follow { followed, future }
}

/// For a task of its own that works on the current request too.
pub fn carry<F: Future>(future: F) -> Follow<F> {
    follow(current(Followed::clone), future)
}

pin_project! {
    /// See [`follow`].
    pub struct Follow<F> {
        followed: Followed,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Follow<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = Entered::new(this.followed);
        this.future.poll(context)
    }
}

/// What followed the thread before comes back when it is dropped, also by a panic.
struct Entered<'a>(&'a mut Followed);

impl Entered<'_> {
    fn new(followed: &mut Followed) -> Entered<'_> {
        CURRENT.with(|current| mem::swap(&mut *current.borrow_mut(), followed));
        Entered(followed)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.with(|current| mem::swap(&mut *current.borrow_mut(), self.0));
    }
}

const _: () = assert!(TRACEPARENT_BYTES == 2 + 1 + 32 + 1 + 16 + 1 + 2);

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::Waker;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Finished>>);

    impl Spans for Kept {
        fn finished(&self, span: Finished) {
            self.0.lock().expect("no panic").push(span);
        }

        fn begin(&self, trace_id: u128) -> Option<u64> {
            (trace_id != FULL).then_some(7)
        }

        fn sample(&self) -> Option<u128> {
            Some(9)
        }
    }

    /// A trace that has as many spans as it may.
    const FULL: u128 = 13;

    #[test]
    fn what_callers_send() {
        let rows = [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(true)),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Some(false)),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff", Some(true)),
            // A version to come: what it says more is left alone.
            ("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-else", Some(true)),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x", None),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
            ("00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-+7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", None),
            ("", None),
            ("\u{e4}", None),
        ];
        for (text, expected) in rows {
            let parsed = SpanContext::parse(&HeaderValue::from_bytes(text.as_bytes()).expect("a header's value"));
            assert_eq!(parsed.map(|context| context.is_sampled), expected, "{text}");
            if let Some(context) = parsed.filter(|_| text.len() == TRACEPARENT_BYTES && !text.ends_with("ff")) {
                assert_eq!(context.to_string(), text);
            }
        }
    }

    #[test]
    fn children_have_their_parents_and_nothing_has_none() {
        let kept = Arc::new(Kept::default());
        let mut root = Span::begin(kept.clone(), 9, None, "root", Kind::Server);
        root.set("n", || 3);
        root.fail(|| "why".to_string());
        drop(root.child("child", Kind::Internal));
        drop(root);
        assert!(Span::begin(kept.clone(), FULL, None, "one more", Kind::Server).is_none());
        let mut none = Span::none();
        none.set("n", || -> u64 { panic!("nobody sees it") });
        assert!(none.child("x", Kind::Internal).is_none());
        drop(none);
        let spans = kept.0.lock().expect("no panic");
        let seen: Vec<_> =
            spans.iter().map(|span| (span.name, span.parent, span.parent_is_remote, span.error.as_deref())).collect();
        assert_eq!(seen, [("child", Some(7), false, None), ("root", None, false, Some("why"))]);
        assert_eq!(spans[1].attributes, [("n", Value::Whole(3))]);
    }

    #[test]
    fn what_is_carried_goes_on_where_it_arrives() {
        let kept = Arc::new(Kept::default());
        let spans: Arc<dyn Spans> = kept.clone();
        let ray = Some(HeaderValue::from_static("a"));
        let sent = Span::root(&spans, "sent", Kind::Client);
        let from = Followed { ray: ray.clone(), parent: sent.as_parent() };
        let carried = within(from, Carried::current);
        assert_eq!((&carried.ray, carried.context), (&ray, sent.context()));
        assert_eq!(Carried::current(), Carried::default(), "and nothing is left behind");
        let mut linked = Span::root(&spans, "linked", Kind::Consumer);
        linked.link(carried.context);
        drop(linked);
        // Whoever has nowhere to send spans keeps the id alone.
        assert!(carried.clone().followed(None).parent.is_none());
        let unsampled = SpanContext { is_sampled: false, ..carried.context.expect("it was sampled") };
        let unsampled = Carried { context: Some(unsampled), ..carried.clone() };
        assert!(unsampled.followed(Some(&spans)).parent.is_none());
        let arrived = carried.clone().followed(Some(&spans));
        assert_eq!(arrived.ray, ray);
        within(arrived, || drop(child("arrived", Kind::Server)));
        let spans = kept.0.lock().expect("no panic");
        let seen: Vec<_> = spans.iter().map(|span| (span.name, span.parent, span.parent_is_remote, span.link)).collect();
        assert_eq!(seen, [("linked", None, false, carried.context), ("arrived", Some(7), true, None)]);
    }

    #[test]
    fn what_follows_a_task_follows_no_other() {
        let seen = || current(|followed| followed.ray.clone());
        let ray = |text: &'static str| Followed { ray: Some(HeaderValue::from_static(text)), parent: None };
        let mut outer = pin!(follow(ray("a"), async {
            assert_eq!(seen().as_ref().map(HeaderValue::as_bytes), Some(&b"a"[..]));
            follow(ray("b"), async { assert_eq!(seen().as_ref().map(HeaderValue::as_bytes), Some(&b"b"[..])) }).await;
            replace(ray("c"));
            let mut polled = false;
            std::future::poll_fn(|_| match std::mem::replace(&mut polled, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            assert_eq!(seen().as_ref().map(HeaderValue::as_bytes), Some(&b"c"[..]));
        }));
        let mut context = Context::from_waker(Waker::noop());
        for expected in [Poll::Pending, Poll::Ready(())] {
            assert_eq!(outer.as_mut().poll(&mut context), expected);
            assert_eq!(seen(), None);
        }
    }
}
