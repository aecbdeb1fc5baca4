-- A small bookshop, for looking around in. Run in one transaction by the role that is to own it.

CREATE TYPE order_status AS ENUM ('placed', 'paid', 'shipped', 'delivered', 'cancelled');
COMMENT ON TYPE order_status IS 'The life of an order, in this order; cancelled is possible until it is shipped.';

CREATE DOMAIN price AS numeric(8, 2) CHECK (VALUE >= 0);
COMMENT ON DOMAIN price IS 'An amount in euros, VAT included.';

CREATE TABLE authors (
    author_id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL UNIQUE,
    country text NOT NULL,
    born integer
);
COMMENT ON TABLE authors IS 'People whose books we sell.';
COMMENT ON COLUMN authors.born IS 'Year of birth; null when unknown.';

CREATE TABLE books (
    book_id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    author_id integer NOT NULL REFERENCES authors,
    title text NOT NULL,
    published integer NOT NULL,
    price price NOT NULL,
    in_stock integer NOT NULL DEFAULT 0 CHECK (in_stock >= 0),
    UNIQUE (author_id, title)
);
CREATE INDEX books_title_lower ON books (lower(title));
COMMENT ON TABLE books IS 'What we sell: one row per title, not per copy.';
COMMENT ON COLUMN books.published IS 'Year of the first edition.';
COMMENT ON COLUMN books.price IS 'Today''s price; what a customer paid is in order_lines.unit_price.';

CREATE TABLE customers (
    customer_id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    city text NOT NULL,
    joined date NOT NULL
);
COMMENT ON TABLE customers IS 'People who have ordered at least once, or mean to.';

CREATE TABLE orders (
    order_id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    customer_id integer NOT NULL REFERENCES customers,
    placed_at timestamptz NOT NULL,
    status order_status NOT NULL DEFAULT 'placed'
);
CREATE INDEX orders_of_customer ON orders (customer_id, placed_at DESC);
CREATE INDEX orders_open ON orders (placed_at) WHERE status IN ('placed', 'paid');
COMMENT ON TABLE orders IS 'One row per checkout; what was bought is in order_lines.';
COMMENT ON COLUMN orders.placed_at IS 'When the customer pressed the button.';

CREATE TABLE order_lines (
    order_id integer NOT NULL REFERENCES orders ON DELETE CASCADE,
    line_no integer NOT NULL,
    book_id integer NOT NULL REFERENCES books,
    quantity integer NOT NULL CHECK (quantity > 0),
    unit_price price NOT NULL,
    PRIMARY KEY (order_id, line_no)
);
CREATE INDEX order_lines_of_book ON order_lines (book_id);
COMMENT ON TABLE order_lines IS 'The books of an order.';
COMMENT ON COLUMN order_lines.unit_price IS 'Price of one copy when it was ordered.';

CREATE TABLE reviews (
    book_id integer NOT NULL REFERENCES books,
    customer_id integer NOT NULL REFERENCES customers,
    stars smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    comment text,
    written date NOT NULL,
    PRIMARY KEY (book_id, customer_id)
);
COMMENT ON TABLE reviews IS 'What customers think of a book; one review each.';

CREATE VIEW book_sales AS
SELECT b.book_id,
       b.title,
       a.name AS author,
       coalesce(sum(l.quantity), 0) AS copies,
       coalesce(sum(l.quantity * l.unit_price), 0) AS revenue
FROM books b
JOIN authors a USING (author_id)
LEFT JOIN (order_lines l JOIN orders o ON o.order_id = l.order_id AND o.status <> 'cancelled') USING (book_id)
GROUP BY b.book_id, b.title, a.name;
COMMENT ON VIEW book_sales IS 'Copies sold and money taken per book, cancelled orders left out.';

INSERT INTO authors (name, country, born) VALUES
    ('Jane Austen', 'United Kingdom', 1775),
    ('Chinua Achebe', 'Nigeria', 1930),
    ('Jorge Luis Borges', 'Argentina', 1899),
    ('Ursula K. Le Guin', 'United States', 1929),
    ('Rabindranath Tagore', 'India', 1861),
    ('Clarice Lispector', 'Brazil', 1920),
    ('Murasaki Shikibu', 'Japan', NULL),
    ('Italo Calvino', 'Italy', 1923);

INSERT INTO books (author_id, title, published, price, in_stock)
SELECT a.author_id, b.title, b.published, b.price, b.in_stock
FROM (VALUES
    ('Jane Austen', 'Pride and Prejudice', 1813, 9.90, 34),
    ('Jane Austen', 'Emma', 1815, 10.50, 12),
    ('Jane Austen', 'Persuasion', 1817, 8.90, 0),
    ('Chinua Achebe', 'Things Fall Apart', 1958, 12.00, 21),
    ('Chinua Achebe', 'Arrow of God', 1964, 12.50, 4),
    ('Jorge Luis Borges', 'Ficciones', 1944, 14.00, 17),
    ('Jorge Luis Borges', 'El Aleph', 1949, 13.50, 9),
    ('Ursula K. Le Guin', 'A Wizard of Earthsea', 1968, 11.00, 40),
    ('Ursula K. Le Guin', 'The Left Hand of Darkness', 1969, 12.90, 26),
    ('Ursula K. Le Guin', 'The Dispossessed', 1974, 13.90, 3),
    ('Rabindranath Tagore', 'Gitanjali', 1910, 7.50, 15),
    ('Rabindranath Tagore', 'The Home and the World', 1916, 10.90, 6),
    ('Clarice Lispector', 'The Hour of the Star', 1977, 9.50, 11),
    ('Clarice Lispector', 'The Passion According to G.H.', 1964, 12.00, 0),
    ('Murasaki Shikibu', 'The Tale of Genji', 1021, 24.00, 5),
    ('Italo Calvino', 'Invisible Cities', 1972, 11.50, 29),
    ('Italo Calvino', 'If on a Winter''s Night a Traveller', 1979, 12.90, 14),
    ('Italo Calvino', 'The Baron in the Trees', 1957, 11.90, 8)
) AS b (author, title, published, price, in_stock)
JOIN authors a ON a.name = b.author
ORDER BY a.author_id, b.published;

INSERT INTO customers (name, email, city, joined)
SELECT first.name || ' ' || last.name,
       lower(first.name || '.' || last.name) || '@example.com',
       (ARRAY['Lisbon', 'Utrecht', 'Pune', 'Leipzig', 'Córdoba', 'Tartu'])[1 + (first.n * 3 + last.n * 5) % 6],
       date '2022-01-09' + (first.n * 53 + last.n * 17)::integer
FROM unnest(ARRAY['Ada', 'Bruno', 'Chitra', 'Dmitri', 'Elif', 'Femi', 'Greta', 'Hugo']) WITH ORDINALITY AS first (name, n)
CROSS JOIN unnest(ARRAY['Almeida', 'Berg', 'Chandra', 'Demir', 'Eze']) WITH ORDINALITY AS last (name, n);

-- Two years of orders. Numbers are mixed by multiplication and not drawn, so that every copy of the shop is the same;
-- the powers make some customers and some books come up more often than others.
INSERT INTO orders (customer_id, placed_at, status)
SELECT 1 + floor(40 * power(n * 7919 % 601 / 601.0, 1.7))::integer,
       timestamptz '2024-01-02 08:00+00' + n * interval '29 hours' + (n * 271 % 600) * interval '1 minute',
       (CASE WHEN n % 23 = 0 THEN 'cancelled' WHEN n > 590 THEN 'placed' WHEN n > 575 THEN 'paid'
             WHEN n > 555 THEN 'shipped' ELSE 'delivered' END)::order_status
FROM generate_series(1, 600) AS n;

INSERT INTO order_lines (order_id, line_no, book_id, quantity, unit_price)
SELECT o.order_id, line, b.book_id, 1 + o.order_id * line % 7 / 6, b.price
FROM orders o
CROSS JOIN LATERAL generate_series(1, 1 + o.order_id % 3) AS line
JOIN books b ON b.book_id = 1 + (floor(18 * power(o.order_id * 31 % 211 / 211.0, 1.5))::integer * 7 + line * 5) % 18;

INSERT INTO reviews (book_id, customer_id, stars, comment, written)
SELECT DISTINCT ON (l.book_id, o.customer_id)
       l.book_id, o.customer_id, r.stars, r.comment, (o.placed_at + interval '19 days')::date
FROM order_lines l
JOIN orders o USING (order_id)
JOIN (VALUES
    (0, 5, 'Read it in two evenings.'),
    (1, 4, NULL),
    (2, 4, 'Better the second time.'),
    (3, 2, 'Not for me.'),
    (4, 3, NULL),
    (5, 5, 'A present that was kept.')
) AS r (kind, stars, comment) ON r.kind = (l.book_id * 5 + o.customer_id) % 6
WHERE o.status = 'delivered' AND o.order_id % 4 = 1
ORDER BY l.book_id, o.customer_id, o.placed_at;

ANALYZE;
