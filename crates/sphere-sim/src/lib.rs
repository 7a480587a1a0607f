//! What would a policy have done on this traffic?
