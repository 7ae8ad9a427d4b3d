-- Whether a hash is that of an API key. Who may call this need not be able to read the hashes.
CREATE FUNCTION is_api_key(candidate bytea) RETURNS boolean
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, public
AS 'SELECT EXISTS (SELECT FROM public.api_keys WHERE hash = candidate)';
