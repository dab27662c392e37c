//! A member of a folder that means harm, against two honest sites on loopback: its key and signatures
//! are right, and it says what it likes. What it says is refused, set aside or shown; nothing of the
//! others is lost, nothing outside the folder is touched, and the rest goes on.

mod hostile {
    mod claims;
    mod contents;
    mod member;
    mod records;
    mod said;
    mod sites;
    mod takes;
}
